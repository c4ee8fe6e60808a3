from pathlib import Path

import numpy as np
import polars as pl
import pytest

from serving.errors import WrongUse
from training.data.clean import Preparation
from training.data.dataset import describe, find_parts, read_described, read_description, read_test, read_training
from training.data.generator import generate
from training.data.log import ClickLog, make_log
from training.data.protocol import parse_protocol
from training.data.readers import read_log
from training.data.splits import split
from training.data.writers import write_log

HEADER = "SessionId,ItemId,Time\n"
NEXT = parse_protocol("next-item")


def table(path: Path, *rows: str) -> None:
    path.write_text(HEADER + "\n".join(rows) + "\n")


def test_the_parts_of_a_directory_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("x_train_full.csv", "x_train_tr.csv", "x_train_valid.csv", "x_test.csv", "README.txt", "movies.dat"):
        (tmp_path / name).touch()
    parts = find_parts(tmp_path)
    assert [path.name for path in parts.train] == ["x_train_tr.csv"]
    assert [path.name for path in parts.validation] == ["x_train_valid.csv"]
    assert [path.name for path in parts.test] == ["x_test.csv"]


def test_a_directory_of_two_unnamed_logs_is_a_wrong_use_that_names_them(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    with pytest.raises(WrongUse, match=r"has a\.csv, b\.csv: name one file, or call the parts train, valid and test"):
        find_parts(tmp_path)


def test_a_missing_path_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="there is no file or directory"):
        find_parts(tmp_path / "nowhere")


def test_training_never_opens_a_given_test_file(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", *(f"s{n},i{n % 3},{1600000000 + n}" for n in range(20)), "s19,i1,1600000030")
    (tmp_path / "test.csv").write_text("this is no click log\n")
    assert len(read_training(tmp_path, NEXT).clicks) == 18


@pytest.mark.parametrize("protocol", ["next-item", "next-item:0.3", "last-days:3", "leave-one-out", "time:0.8"])
def test_training_validation_and_test_share_no_target(tmp_path: Path, protocol: str) -> None:
    log = generate(300, 100, 0)
    write_log(log, tmp_path / "shop.parquet")
    held_by = parse_protocol(protocol)
    training = read_training(tmp_path / "shop.parquet", held_by)
    test = read_test(tmp_path / "shop.parquet", held_by)
    learned = set(training.clicks.frame.rows())
    validated = set(training.validation.log.frame.filter(training.validation.targets).rows())
    tested = set(test.log.frame.filter(test.targets).rows())
    assert not learned & validated
    assert not learned & tested
    assert not validated & tested
    assert learned | validated | tested == set(log.frame.rows())


def test_item_support_is_counted_in_training_clicks_only(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "a,1,1600000000", "a,2,1600000001", "b,1,1600000002")
    table(tmp_path / "valid.csv", "c,2,1600000003", "c,2,1600000004")
    table(tmp_path / "test.csv", "d,2,1600000005", "d,2,1600000006")
    support = Preparation(min_item_support=2)
    assert read_training(tmp_path, NEXT, support).clicks.frame["item_id"].to_list() == ["1", "1"]
    assert read_test(tmp_path, NEXT, support).log.frame["item_id"].to_list() == ["2", "2"]


def test_test_sessions_are_cut_at_the_same_gaps_as_training_sessions(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "a,1,1600000000", "a,2,1600001801", "b,1,1600001802", "b,2,1600001803")
    table(tmp_path / "valid.csv", "c,1,1600002000", "c,2,1600002001")
    table(tmp_path / "test.csv", "d,1,1600003000", "d,2,1600004801")
    assert set(read_training(tmp_path, NEXT).clicks.frame["session_id"]) == {"a", "a#2", "b"}
    assert set(read_test(tmp_path, NEXT).log.frame["session_id"]) == {"d", "d#2"}
    assert set(read_test(tmp_path, NEXT, Preparation(session_gap_s=2000)).log.frame["session_id"]) == {"d"}


def test_a_manifest_says_how_the_clicks_were_held_out(tmp_path: Path) -> None:
    write_log(generate(50, 100, 0), tmp_path / "shop.csv")
    protocol, preparation = parse_protocol("next-item:0.3"), Preparation(session_gap_s=60, min_session_length=2)
    training = read_training(tmp_path / "shop.csv", protocol, preparation)
    description = describe(training, protocol, preparation)
    assert read_description(description) == (protocol, preparation)
    assert description["fingerprint"] == training.clicks.fingerprint
    assert read_description({}) == (NEXT, Preparation())


PROTOCOLS = [
    "next-item:0.3", "last-days:3", "last-week", "ratio:6-2-2", "time:0.8", "leave-one-out", "rolling-days:3/2",
    "ader:1/1",
]  # fmt: skip


def six_weeks() -> ClickLog:
    """200 sessions of four clicks in half an hour, one every five hours."""
    random = np.random.default_rng(0)
    begin = 1_600_000_000_000 + np.repeat(np.arange(200) * 5 * 3600_000, 4)
    frame = pl.DataFrame(
        {
            "session_id": np.repeat(np.arange(200), 4).astype(str),
            "item_id": random.integers(0, 30, 800).astype(str),
            "timestamp_ms": begin + np.tile(np.arange(4) * 600_000, 200) + random.permutation(800),
        }
    )
    return make_log(frame)


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_of_the_test_reaches_training_or_validation_not_even_a_count(
    tmp_path: Path, protocol: str, refit: bool
) -> None:
    held_by, counted = parse_protocol(protocol), Preparation(min_item_support=3, min_session_length=2)
    log = six_weeks()
    write_log(log, tmp_path / "shop.csv")
    held_out = read_test(tmp_path / "shop.csv", held_by, counted)
    tested = held_out.log.frame.filter(held_out.targets).get_column("timestamp_ms")
    swapped = pl.when(pl.col("timestamp_ms").is_in(tested.implode())).then(pl.lit("0")).otherwise("item_id")
    write_log(log.with_frame(log.frame.with_columns(swapped.alias("item_id"))), tmp_path / "other.csv")
    one = read_training(tmp_path / "shop.csv", held_by, counted, refit=refit)
    other = read_training(tmp_path / "other.csv", held_by, counted, refit=refit)
    assert read_test(tmp_path / "other.csv", held_by, counted).log.fingerprint != held_out.log.fingerprint
    assert other.clicks.fingerprint == one.clicks.fingerprint
    assert other.validation.log.fingerprint == one.validation.log.fingerprint
    assert other.validation.targets.tolist() == one.validation.targets.tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refit_learns_from_all_before_the_test_and_validates_nothing(tmp_path: Path, protocol: str) -> None:
    write_log(six_weeks(), tmp_path / "shop.csv")
    held_by = parse_protocol(protocol)
    chosen = read_training(tmp_path / "shop.csv", held_by)
    refitted = read_training(tmp_path / "shop.csv", held_by, refit=True)
    assert refitted.clicks.fingerprint == split(read_log(tmp_path / "shop.csv"), held_by).before.fingerprint
    assert (refitted.validation.cases, refitted.refit) == (0, True)
    assert set(chosen.clicks.frame.rows()) < set(refitted.clicks.frame.rows())


def test_a_refit_takes_the_given_validation_file_too(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "a,1,1600000000", "a,2,1600000001")
    table(tmp_path / "valid.csv", "b,2,1600000003", "b,3,1600000004")
    (tmp_path / "test.csv").write_text("this is no click log\n")
    assert read_training(tmp_path, NEXT, refit=True).clicks.frame["item_id"].to_list() == ["1", "2", "2", "3"]


def test_a_protocol_that_drops_unknown_items_drops_them_from_validation_too(tmp_path: Path) -> None:
    sessions = [f"s{n},{item},{1600000000 + 10 * n + place}" for n in range(8) for place, item in enumerate("12")]
    table(tmp_path / "log.csv", *sessions, "u,1,1600000800", "u,new,1600000801", "v,1,1600000900", "v,2,1600000901")
    validation = read_training(tmp_path / "log.csv", parse_protocol("ratio:8-1-1")).validation
    assert (len(validation.log), validation.cases) == (0, 0)
    assert read_training(tmp_path / "log.csv", parse_protocol("next-item:0.1")).validation.cases == 1


def test_a_manifest_says_whether_the_training_was_a_refit(tmp_path: Path) -> None:
    write_log(generate(50, 100, 0), tmp_path / "shop.csv")
    for refit in (False, True):
        training = read_training(tmp_path / "shop.csv", NEXT, refit=refit)
        description = describe(training, NEXT, Preparation())
        again = read_described(description, tmp_path / "shop.csv", NEXT)
        assert (again.refit, again.clicks.fingerprint) == (refit, training.clicks.fingerprint)
