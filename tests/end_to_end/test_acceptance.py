"""`make acceptance`: the demo as a user runs it, at full length, on real clicks where they are.

Apart from `make test`, because it trains for as long as the demo does.
"""

from pathlib import Path

import pytest

from tests.end_to_end.test_demo import check, run_demo
from tests.public_data import public_data


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["embedded", "kafka"])
def test_on_real_clicks_every_click_gets_its_list_and_the_lists_beat_sequential_rules(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    clicks = public_data("serenade-sample")
    if kind == "kafka" and request.getfixturevalue("apache_kafka") is None:
        pytest.skip("there is no Apache Kafka here; the summary says why")
    report, kept = run_demo(tmp_path, "--data", str(clicks), "--broker", kind)
    check(report, kept)
    assert report["hit_rate_at_20"] >= report["sr_hit_rate_at_20"] > 0.5
    assert report["seconds"] <= 180


@pytest.mark.acceptance
def test_the_generated_shop_is_learnt_in_the_demos_time(tmp_path: Path) -> None:
    report, kept = run_demo(tmp_path)
    check(report, kept)
    assert report["hit_rate_at_20"] >= report["sr_hit_rate_at_20"] > report["popular_hit_rate_at_20"]
    assert report["seconds"] <= 180
