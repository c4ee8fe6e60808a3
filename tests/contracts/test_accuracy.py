"""What docs/accuracy.md says of our lists: of the recipes as they are, and of the cases that it names."""

import json

import msgspec
import polars as pl
import pytest

from serving.errors import WrongUse
from tests.accuracy.outside import joined
from tests.accuracy.page import PAGE, page
from tests.accuracy.published import SECTIONS
from tests.accuracy.rows import ROWS
from tests.accuracy.run import TABLE, conditions, sha256_of
from tests.public_data import public_data
from training.evaluation.case_ranks import CaseRanks
from training.identity import difference

MEASURED = json.loads(TABLE.read_text())


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text() == page(MEASURED)


def test_every_row_has_its_place_on_the_page() -> None:
    assert {row for section in SECTIONS for row in section.rows} == set(ROWS)


@pytest.mark.parametrize("name", MEASURED)
def test_a_row_was_measured_with_the_recipe_as_it_is(name: str) -> None:
    now = msgspec.json.decode(msgspec.json.encode(conditions(ROWS[name])))
    assert difference({key: MEASURED[name].get(key) for key in now}, now) is None


@pytest.mark.parametrize("name", MEASURED)
def test_a_row_was_measured_on_three_seeds_by_committed_code(name: str) -> None:
    seeds = MEASURED[name]["seeds"]
    assert len({seed["seed"] for seed in seeds} - {0}) == 3
    assert not [code for seed in seeds for code in (seed["commit"], seed["ranked"]) if "+" in code]


@pytest.mark.parametrize("name", MEASURED)
def test_a_row_was_measured_on_the_public_data(name: str) -> None:
    assert MEASURED[name]["data_sha256"] == sha256_of(public_data(ROWS[name].data))


def test_ranks_of_another_system_come_beside_the_cases_of_ours() -> None:
    cases = _cases({"b": "7", "a": "9"})
    theirs = pl.DataFrame({"user_id": ["a", "b", "c"], "item_id": [9, 7, 1], "rank": [0, 3, 1]})
    assert joined(cases, theirs).frame.select("session_id", "rank").rows() == [("b", 3), ("a", 0)]


def test_a_case_that_another_system_has_not_ranked_is_refused() -> None:
    theirs = pl.DataFrame({"user_id": ["a"], "item_id": [8], "rank": [1]})
    with pytest.raises(WrongUse, match="1 of 1 cases have no rank of theirs"):
        joined(_cases({"a": "9"}), theirs)


def _cases(targets: dict[str, str]) -> CaseRanks:
    """Return one case for each session."""
    return CaseRanks(
        pl.DataFrame(
            {
                "case_id": [f"x-{session}" for session in targets],
                "session_id": list(targets),
                "user_id": list(targets),
                "position": [1] * len(targets),
                "item_id": list(targets.values()),
                "rank": [0] * len(targets),
            }
        )
    )
