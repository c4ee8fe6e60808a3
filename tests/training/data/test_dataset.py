from pathlib import Path

import pytest

from serving.errors import WrongUse
from training.data.clean import Preparation
from training.data.dataset import describe, find_parts, read_description, read_test, read_training
from training.data.generator import generate
from training.data.splits import parse_protocol
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


@pytest.mark.parametrize("protocol", ["next-item", "next-item:0.3", "last-days:3", "leave-one-out"])
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
