import datetime
import gzip
import json
import logging
from pathlib import Path

import polars as pl
import pytest

from serving.errors import WrongUse
from serving.events import decode_click, encode_click
from training.data.log import ClickLog
from training.data.readers import ReadOptions, read_log
from training.errors import DataError


def write(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    raw = text.encode(encoding)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def clicks(log: ClickLog) -> list[tuple[str, str, int]]:
    return log.frame.select("session_id", "item_id", "timestamp_ms").rows()


def test_movielens_ratings_are_one_session_per_user_with_titles_from_movies_dat(tmp_path: Path) -> None:
    write(tmp_path / "movies.dat", "1::Léon (1994)::Crime\n661::James (1996)::Animation\n", encoding="latin-1")
    log = read_log(write(tmp_path / "ratings.dat", "1::661::3::978302109\n1::1::5::978300760\n2::1::4::978300761\n"))
    assert clicks(log) == [("1", "1", 978300760000), ("2", "1", 978300761000), ("1", "661", 978302109000)]
    assert log.frame["user_id"].to_list() == ["1", "2", "1"]
    assert log.by_user
    assert log.timed
    assert log.titles == {"1": "Léon (1994)", "661": "James (1996)"}


def test_pairs_have_no_time_and_keep_the_order_of_the_file(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "ml-1m.txt.gz", "1 7\n1 3\n2 7\n1 7\n"))
    assert clicks(log) == [("1", "7", 0), ("1", "3", 1), ("2", "7", 2), ("1", "7", 3)]
    assert not log.timed


def test_movie_titles_are_not_given_to_pairs_whose_ids_are_others(tmp_path: Path) -> None:
    write(tmp_path / "movies.dat", "7::Sabrina (1995)::Comedy\n")
    assert read_log(write(tmp_path / "ml-1m.txt", "1 7\n")).titles is None


def test_a_week_of_pairs_ends_where_the_next_week_begins(tmp_path: Path) -> None:
    week_ms = 7 * 24 * 3600 * 1000
    log = read_log(write(tmp_path / "week_02.txt", "9 1\n8 2\n"))
    assert clicks(log) == [("9", "1", 3 * week_ms - 2), ("8", "2", 3 * week_ms - 1)]


@pytest.mark.parametrize("separator", ["\t", ",", ";", " "])
@pytest.mark.parametrize("name", ["clicks.txt", "clicks.csv", "clicks.tsv.gz"])
def test_session_tables_with_any_separator_and_decimal_seconds(tmp_path: Path, separator: str, name: str) -> None:
    lines = ["SessionId,ItemId,Time", "3,214716935,1396437466.94", "3,214832672,1396437465.001"]
    log = read_log(write(tmp_path / name, "\n".join(lines).replace(",", separator) + "\n"))
    assert clicks(log) == [("3", "214832672", 1396437465001), ("3", "214716935", 1396437466940)]


def test_csv_columns_may_have_other_names_and_quotes(tmp_path: Path) -> None:
    text = 'user_id,movie_id,rating,timestamp\n5,"a, b",3,978300760\n5,"say ""x""",3,978300761\n'
    log = read_log(write(tmp_path / "events.csv", text))
    assert clicks(log) == [("5", "a, b", 978300760000), ("5", 'say "x"', 978300761000)]
    assert log.by_user


def test_windows_line_ends_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    log = read_log(write(tmp_path / "a.csv", "\ufeffsession_id,item_id,time\r\n\r\ns,i,1600000000\r\n\r\n"))
    assert clicks(log) == [("s", "i", 1600000000000)]


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        ("1600000000", 1_600_000_000_000),
        ("1600000000.25", 1_600_000_000_250),
        ("1600000000250", 1_600_000_000_250),
        ("1600000000250000", 1_600_000_000_250),
        ("1600000000250000000", 1_600_000_000_250),
        ("2014-04-07T10:51:09.277Z", 1_396_867_869_277),
        ("2014-04-07T12:51:09.277+02:00", 1_396_867_869_277),
        ("2014-04-07 10:51:09", 1_396_867_869_000),
    ],
)
def test_the_unit_of_time_is_recognised(tmp_path: Path, value: str, expected_ms: int) -> None:
    log = read_log(write(tmp_path / "a.csv", f"session,item,time\ns,i,{value}\ns,j,{value}\n"))
    assert log.frame["timestamp_ms"].to_list() == [expected_ms, expected_ms]


def test_a_given_unit_wins_over_magnitude_and_a_name_says_its_own(tmp_path: Path) -> None:
    small = write(tmp_path / "small.csv", "session,item,time\ns,i,5000\n")
    named = write(tmp_path / "named.csv", "session,item,timestamp_ms\ns,i,5000\n")
    assert read_log(small).frame["timestamp_ms"].item() == 5_000_000
    assert read_log(small, ReadOptions(time_unit="ms")).frame["timestamp_ms"].item() == 5000
    assert read_log(named).frame["timestamp_ms"].item() == 5000


def test_times_of_two_units_in_one_file_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "session,item,time\ns,i,1600000000\ns,j,1600000000000\n")
    with pytest.raises(DataError, match="look like s and ms at once"):
        read_log(path)


def test_an_unknown_unit_is_a_wrong_use(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "session,item,time\ns,i,1\n")
    with pytest.raises(WrongUse, match="no time unit 'minutes': name one of auto, s, ms, us, ns"):
        read_log(path, ReadOptions(time_unit="minutes"))


def test_parquet_ids_may_be_numbers_and_times_timestamps(tmp_path: Path) -> None:
    moment = datetime.datetime(2020, 9, 13, 12, 26, 40, tzinfo=datetime.UTC)
    frame = pl.DataFrame({"session": [1, 1], "item": [7.0, 8.0], "time": [moment, moment], "event": ["view", None]})
    frame.write_parquet(tmp_path / "a.parquet")
    log = read_log(tmp_path / "a.parquet")
    assert clicks(log) == [("1", "7", 1600000000000), ("1", "8", 1600000000000)]
    assert log.frame["event_type"].to_list() == ["view", "view"]


def test_json_lines_are_our_events_or_objects_with_other_names(tmp_path: Path) -> None:
    event = {"event_id": "e", "session_id": "s", "item_id": "i", "timestamp_ms": 5, "event_type": "purchase"}
    ours = read_log(write(tmp_path / "ours.jsonl", json.dumps(event) + "\n"))
    assert clicks(ours) == [("s", "i", 5)]
    assert ours.frame["event_type"].to_list() == ["purchase"]
    other = {"user_id": 3, "movie_id": 4, "timestamp": 1600000000}
    assert clicks(read_log(write(tmp_path / "other.jsonl.gz", json.dumps(other)))) == [("3", "4", 1600000000000)]


def test_a_field_of_json_lines_may_come_late(tmp_path: Path) -> None:
    events = [{"session_id": "s", "item_id": "i", "timestamp_ms": at} for at in range(500)]
    events[-1]["event_type"] = "purchase"
    log = read_log(write(tmp_path / "late.jsonl", "\n".join(map(json.dumps, events))))
    assert log.frame["event_type"].to_list()[-2:] == ["view", "purchase"]


@pytest.mark.parametrize("late", ["timestamp", "session_id", "item_id", "event"])
def test_a_late_field_takes_no_column_from_the_lines_before(tmp_path: Path, late: str) -> None:
    events = [{"user": "u", "item": "i", "time": 1600000000 + at, "type": "purchase"} for at in range(500)]
    log = read_log(write(tmp_path / "log.jsonl", "\n".join(map(json.dumps, [*events, {**events[0], late: "x"}]))))
    assert log.frame["event_type"].to_list() == ["purchase"] * 501
    assert log.by_user


def test_few_bad_rows_are_left_out_counted_and_logged_with_their_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"s,i{n},{1600000000 + n}" for n in range(200)]
    rows[10], rows[20] = ",i,1600000000", "s,i,soon"
    path = write(tmp_path / "a.csv", "\n".join(["session,item,time", *rows]))
    with caplog.at_level(logging.WARNING):
        log = read_log(path)
    assert (len(log), log.bad_rows) == (198, 2)
    assert "2 of 200 rows are no clicks (line 12: no usable session id, line 22: no readable time)" in caplog.text


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("s,i", "no usable session id"),
        ("s,i,1600000000,extra", "no usable session id"),
        (" ,i,1600000000", "no usable session id"),
        ("s,,1600000000", "no usable item id"),
        (f"s,{'x' * 257},1600000000", "no usable item id"),
        ("s,i,", "no readable time"),
        ("s,i,nan", "no readable time"),
        ("s,i,-5", "time out of range"),
    ],
)
def test_too_many_bad_rows_are_an_error_that_names_line_and_fault(tmp_path: Path, row: str, fault: str) -> None:
    path = write(tmp_path / "a.csv", "session,item,time\n" + "s,i,1600000000\n" * 10 + row)
    with pytest.raises(DataError, match=rf"a\.csv: 1 of 11 rows are no clicks \(line 12: {fault}\), more than the 1"):
        read_log(path)
    assert len(read_log(path, ReadOptions(max_bad_share=0.1))) == 10


@pytest.mark.parametrize(
    ("extra", "fault"),
    [
        ("x" * 65 + ",u", "event_type of more than 64 characters"),
        ("view," + "u" * 257, "user_id of more than 256 characters"),
    ],
)
def test_a_row_that_a_worker_would_refuse_is_a_bad_one(tmp_path: Path, extra: str, fault: str) -> None:
    longest = f"s,i,1600000000,{'ü' * 64},{'u' * 256}\n"
    path = write(tmp_path / "a.csv", f"session,item,time,event,user\n{longest}s,i,1600000000,{extra}\n")
    with pytest.raises(DataError, match=rf"1 of 2 rows are no clicks \(line 3: {fault}\)"):
        read_log(path)
    kept = read_log(path, ReadOptions(max_bad_share=0.5))
    assert [decode_click(encode_click(click)) for click in kept.clicks()] == list(kept.clicks())


@pytest.mark.parametrize(
    ("title", "sentence"),
    [
        (b"L\xe9on", r"line 3: b'7,L\\xe9on' is not UTF-8; write the titles in UTF-8"),
        (b'"' + b"x" * 200_000, r"line 3: field larger than field limit"),
    ],
)
def test_titles_that_cannot_be_read_are_an_error_with_file_and_line(
    tmp_path: Path, title: bytes, sentence: str
) -> None:
    (tmp_path / "shop.titles.csv").write_bytes(b"item_id,title\n6,Big\n7," + title + b"\n")
    with pytest.raises(DataError, match=rf"shop\.titles\.csv, {sentence}"):
        read_log(write(tmp_path / "shop.csv", "session,item,time\ns,7,1600000000\n"))


def test_bad_json_lines_are_counted_like_bad_rows(tmp_path: Path) -> None:
    good = '{"session_id": "s", "item_id": "i", "timestamp_ms": 1}'
    path = write(tmp_path / "a.jsonl", f"{good}\n[1]\n{{broken\n{good}\n")
    with pytest.raises(DataError, match=r"2 of 4 rows are no clicks \(line 2: .*, line 3: "):
        read_log(path)


def test_unknown_columns_are_an_error_that_lists_them_and_what_is_expected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "who,item_id,when\n1,2,3\n")
    with pytest.raises(DataError, match=r"found the columns who, item_id, when; expected a column for the session"):
        read_log(path)


@pytest.mark.parametrize("text", ["a,b,c\n1,2,3\n", "hello world\n", ""])
def test_a_file_that_is_no_click_log_is_an_error_that_shows_its_first_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.txt", text)
    first = text.split("\n")[0]
    with pytest.raises(DataError, match=f"its first line is '{first}'; expected MovieLens"):
        read_log(path)


def test_a_table_without_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        read_log(write(tmp_path / "a.csv", "session,item,time\n"))


def test_damaged_files_are_errors_and_no_tracebacks(tmp_path: Path) -> None:
    whole = gzip.compress(b"session,item,time\n" + b"s,i,1600000000\n" * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.parquet").write_bytes(b"PAR1 but not really")
    for name in ("cut.csv.gz", "no.parquet"):
        with pytest.raises(DataError, match="cannot be read"):
            read_log(tmp_path / name)


def test_a_missing_file_is_a_wrong_use(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="there is no file"):
        read_log(tmp_path / "nowhere.csv")


def test_the_sessions_with_inexact_times_are_known(tmp_path: Path) -> None:
    header = "user_id,movie_id,rating,timestamp,exact,ts_lo,ts_hi\n"
    rows = "1,7,5,978300760,1,978300760.0,978300760.0\n2,7,,978300761,0,978300700.0,978300800.0\n2,9,4,978300762,1,,\n"
    log = read_log(write(tmp_path / "ml1m_events.csv", header + rows))
    assert log.inexact == {"2"}
    assert len(log) == 3
    assert read_log(write(tmp_path / "plain.csv", "user_id,movie_id,timestamp\n1,7,978300760\n")).inexact == set()


@pytest.mark.parametrize(("yes", "no"), [(1, 0), (True, False), ("1", "0"), (1.0, 0.0), ("True", "False"), (None, 0)])
def test_every_layout_says_whether_a_time_is_exact(tmp_path: Path, yes: object, no: object) -> None:
    rows = [
        {"session_id": session, "item_id": "i", "timestamp": 1600000000 + at, "exact": exact}
        for at, (session, exact) in enumerate([("a", yes), ("a", no), ("b", yes), ("b", yes)])
    ]
    frame = pl.DataFrame(rows)
    frame.write_csv(tmp_path / "log.csv")
    frame.write_parquet(tmp_path / "log.parquet")
    write(tmp_path / "log.jsonl", "\n".join(json.dumps(row) for row in rows))
    for name in ("log.csv", "log.parquet", "log.jsonl"):
        assert read_log(tmp_path / name).inexact == {"a"}, name
