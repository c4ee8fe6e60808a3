import pytest

from serving.process import EVERY, Mode
from stream.pipeline.overload import Overload, Plan
from stream.settings import OverloadSettings


def plan(lag: int = 0, **settings: object) -> Plan:
    return Overload(OverloadSettings.model_validate(settings), lambda: lag, lambda: 1_000.0).plan()


def test_by_default_every_click_gets_its_list() -> None:
    assert plan(lag=10**9) == Plan(EVERY, None)


@pytest.mark.parametrize(
    ("lag", "mode"),
    [
        (100, Mode("every", shed=False)),
        (101, Mode("latest", shed=False)),
        (500, Mode("latest", shed=False)),
        (501, Mode("latest", shed=True)),
    ],
)
def test_what_is_left_out_grows_with_the_lag(lag: int, mode: Mode) -> None:
    assert plan(lag, latest_above_lag=100, shed_above_lag=500).mode == mode


def test_latest_as_a_setting_does_not_depend_on_the_lag() -> None:
    assert plan(emit="latest").mode == Mode("latest", shed=False)
    assert plan(lag=2, emit="latest", shed_above_lag=1).mode == Mode("latest", shed=True)
    assert plan(lag=2, shed_above_lag=1).mode == Mode("every", shed=True)


def test_the_age_counts_from_now() -> None:
    assert plan(max_age_s=60.0).wanted_since_ms == 940_000


def test_the_lag_is_not_asked_for_when_nothing_depends_on_it() -> None:
    def lag() -> int:
        raise AssertionError("asked")

    assert Overload(OverloadSettings(emit="latest"), lag).plan().mode == Mode("latest")
