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
from training.errors import DataError
from training.prepared import prepare_training

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


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["x_train_full.csv", "x_train_tr.csv", "x_test.csv"], ["x_train_tr.csv"]),
        (["x_train_full.csv", "x_test.csv"], ["x_train_full.csv"]),
        (["full_train_1.csv", "full_train_2.csv", "valid.csv"], ["full_train_1.csv", "full_train_2.csv"]),
    ],
)
def test_a_full_training_file_is_taken_where_its_parts_are_not_there(
    tmp_path: Path, names: list[str], taken: list[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in find_parts(tmp_path).train] == taken


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
    "next-item", "next-item:0.3", "last-days:3", "last-week", "ratio:6-2-2", "time:0.8", "leave-one-out",
    "rolling-days:3/2", "ader:1/1",
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


def shop_at(path: Path, log: ClickLog, validated: bool) -> Path:
    """Write a log, the sixth week of it into a validation file where one is asked for, and return what `--data` is."""
    if not validated:
        write_log(log, path.with_suffix(".csv"))
        return path.with_suffix(".csv")
    path.mkdir()
    late = pl.col("session_id").cast(pl.Int64) >= 168
    write_log(log.with_frame(log.frame.filter(~late)), path / "train.csv")
    write_log(log.with_frame(log.frame.filter(late)), path / "valid.csv")
    return path


@pytest.mark.parametrize("validated", [False, True], ids=["file", "train and valid"])
@pytest.mark.parametrize("refit", [False, True], ids=["chosen", "refit"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_of_the_test_reaches_training_or_validation_not_even_a_count(
    tmp_path: Path, protocol: str, refit: bool, validated: bool
) -> None:
    held_by, counted = parse_protocol(protocol), Preparation(min_item_support=3, min_session_length=2)
    log = six_weeks()
    shop = shop_at(tmp_path / "shop", log, validated)
    held_out = read_test(shop, held_by, counted)
    tested = held_out.log.frame.filter(held_out.targets).get_column("timestamp_ms")
    swapped = pl.when(pl.col("timestamp_ms").is_in(tested.implode())).then(pl.lit("0")).otherwise("item_id")
    changed = shop_at(tmp_path / "other", log.with_frame(log.frame.with_columns(swapped.alias("item_id"))), validated)
    one = read_training(shop, held_by, counted, refit=refit)
    other = read_training(changed, held_by, counted, refit=refit)
    assert read_test(changed, held_by, counted).log.fingerprint != held_out.log.fingerprint
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


def test_a_refit_on_training_and_validation_files_learns_from_both_but_for_the_test(tmp_path: Path) -> None:
    shop = shop_at(tmp_path / "shop", six_weeks(), validated=True)
    chosen, refitted = read_training(shop, NEXT), read_training(shop, NEXT, refit=True)
    tested = set(read_test(shop, NEXT).log.frame["session_id"])
    assert tested == {str(session) for session in range(151, 168)}
    validated = set(chosen.validation.log.frame["session_id"])
    assert set(refitted.clicks.frame["session_id"]) == set(chosen.clicks.frame["session_id"]) | validated
    assert validated == {str(session) for session in range(168, 200)}


def test_a_session_that_goes_on_in_the_validation_file_is_one_session_of_a_refit(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "a,1,1600000000", "a,2,1600003600", "b,1,1600003601", "b,2,1600003602")
    table(tmp_path / "valid.csv", "b,3,1600003700", "b,4,1600007200", "b,5,1600007201")
    (tmp_path / "test.csv").write_text("this is no click log\n")
    sessions = read_training(tmp_path, NEXT, refit=True).clicks.frame.group_by("session_id").agg("item_id")
    assert dict(sessions.rows()) == {"a": ["1"], "a#2": ["2"], "b": ["1", "2", "3"], "b#2": ["4", "5"]}


def test_a_protocol_that_drops_unknown_items_drops_them_from_validation_too(tmp_path: Path) -> None:
    sessions = [f"s{n},{item},{1600000000 + 10 * n + place}" for n in range(8) for place, item in enumerate("12")]
    late = ["u,1,1600000800", "u,new,1600000801", "u,2,1600000802", "v,1,1600000900", "v,2,1600000901"]
    table(tmp_path / "log.csv", *sessions, *late)
    validation = read_training(tmp_path / "log.csv", parse_protocol("ratio:8-1-1")).validation
    assert (validation.log.frame["item_id"].to_list(), validation.cases) == (["1", "2"], 1)
    assert read_training(tmp_path / "log.csv", parse_protocol("next-item:0.1")).validation.cases == 2


def test_nothing_to_validate_by_stops_a_training_but_no_refit_and_no_evaluation(tmp_path: Path) -> None:
    sessions = [f"s{n},{item},{1600000000 + 10 * n + place}" for n in range(8) for place, item in enumerate("12")]
    log, held_by = tmp_path / "log.csv", parse_protocol("ratio:8-1-1")
    table(log, *sessions, "u,1,1600000800", "u,new,1600000801", "v,1,1600000900", "v,2,1600000901")
    training = read_training(log, held_by)
    with pytest.raises(
        DataError, match=r"log: nothing in the validation part can be predicted: 0 clicks in 0 sessions"
    ):
        prepare_training(training)
    assert prepare_training(read_training(log, held_by, refit=True)).clicks.sessions == 9


def test_a_validation_file_of_single_clicks_stops_a_training(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", "a,1,1600000000", "a,2,1600000001")
    table(tmp_path / "valid.csv", "b,1,1600000003", "c,2,1600000004")
    table(tmp_path / "test.csv", "d,2,1600000005", "d,1,1600000006")
    with pytest.raises(DataError, match=r"2 clicks in 2 sessions are left of it; it needs sessions of two clicks"):
        prepare_training(read_training(tmp_path, NEXT))


@pytest.mark.parametrize("refit", [False, True])
def test_filters_that_leave_no_click_to_learn_from_are_an_error_that_names_them(tmp_path: Path, refit: bool) -> None:
    write_log(generate(50, 100, 0), tmp_path / "shop.csv")
    preparation = Preparation(min_item_support=1000, max_item_run=9)
    sentence = r"none of the \d+ training clicks is left .*\(max_item_run=9, min_item_support=1000\): ask for less"
    with pytest.raises(DataError, match=sentence):
        read_training(tmp_path / "shop.csv", NEXT, preparation, refit=refit)


def test_a_manifest_says_whether_the_training_was_a_refit(tmp_path: Path) -> None:
    write_log(generate(50, 100, 0), tmp_path / "shop.csv")
    for refit in (False, True):
        training = read_training(tmp_path / "shop.csv", NEXT, refit=refit)
        description = describe(training, NEXT, Preparation())
        again = read_described(description, tmp_path / "shop.csv", NEXT)
        assert (again.refit, again.clicks.fingerprint) == (refit, training.clicks.fingerprint)
