"""The parts of an export that need no broker: ranges, the catalogue's history, what the stream would keep, the file."""

import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.export.attributes import ItemHistory
from deploy.export.parquet import Row, written_whole
from deploy.export.ranges import Range, parse_bound, ranges_between
from deploy.export.run import to_row
from deploy.export.sieve import LeftOut, Sieve
from serving.bundle import Bundle
from serving.control import Control
from serving.errors import InvalidEvent, NextclickError, WrongUse
from serving.events import Click, encode_click
from serving.process import Sourced, process
from serving.recommender import Recommender
from serving.session import SessionState
from stream.contract.codecs import decode_record
from stream.contract.incoming import Incoming
from stream.errors import TopicError
from stream.settings import Settings
from tests.tiny_bundle import write_tiny_bundle
from training.data.log import ClickLog
from training.data.readers import read_log
from training.data.readers.exported import METADATA_KEY
from training.errors import DataError

NOW_MS = 1_700_000_000_000
SETTINGS = Settings.model_validate({"serving": {"session_gap_s": 100, "session_length": 8, "list_size": 5}})


@pytest.fixture(scope="session")
def recommender(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    bundle: Bundle = write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    return Recommender(bundle, SETTINGS.serving)


def row(offset: int, session: str = "s", partition: int = 0, at_ms: int = NOW_MS, **fields: Any) -> Row:
    values = {"context": None, "item_attributes": None, "user_id": None} | fields
    return Row(partition, offset, at_ms, f"e{offset}", session, f"i{offset}", at_ms, "view", **values)


def write(path: Path, rows: Iterable[Row], export: bytes = b'{"format":1,"topic":"clicks"}') -> ClickLog:
    with written_whole(path) as file:
        for one in rows:
            file.add(one)
        file.describe(METADATA_KEY, export)
    return read_log(path)


# --- ranges


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("2026-11-01", 1_793_491_200_000),
        ("2026-11-01T12:00:00.250Z", 1_793_534_400_250),
        ("2026-11-01T12:00:00+02:00", 1_793_527_200_000),
        ("1960-01-01", 0),
        ("0:1200,1:980", {0: 1200, 1: 980}),
    ],
)
def test_a_bound_is_a_time_or_offsets(text: str, bound: object) -> None:
    assert parse_bound(text, "--since") == bound


@pytest.mark.parametrize("text", ["yesterday", "1200", "0:12,", "0:1,0:2"])
def test_another_bound_is_a_wrong_use_that_names_the_option(text: str) -> None:
    with pytest.raises(WrongUse, match=f"--until {text} "):
        parse_bound(text, "--until")


def test_a_partition_without_a_bound_is_taken_whole() -> None:
    found = ranges_between("clicks", {1: 0, 0: 5}, {1: 7, 0: 9}, since={1: 3}, until={0: 8})
    assert list(found.items()) == [(0, Range(5, 8)), (1, Range(3, 7))]


def test_offsets_that_retention_removed_are_counted() -> None:
    with pytest.raises(TopicError, match=r"retention removed 380 of partition 1 \(it begins at 500\); begin later"):
        ranges_between("clicks", {0: 0, 1: 500}, {0: 9, 1: 900}, since={1: 120}, until={})


@pytest.mark.parametrize("since", [{}, {1: 600}])
def test_an_end_that_retention_removed_is_no_fault_of_the_beginning(since: dict[int, int]) -> None:
    sentence = r"of what comes before --until: partition 1 begins at 500, --until is 100; end later"
    with pytest.raises(TopicError, match=sentence):
        ranges_between("clicks", {0: 0, 1: 500}, {0: 9, 1: 900}, since, until={1: 100})
    assert ranges_between("clicks", {1: 500}, {1: 900}, {}, until={1: 500}) == {1: Range(500, 500)}


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        ({2: 0}, {}, "topic clicks has partitions 0 to 1, not 2"),
        ({0: 10}, {}, "partition 0 of clicks ends at offset 9, not at 10"),
        ({}, {1: 901}, "partition 1 of clicks ends at offset 900, not at 901"),
        ({0: 6}, {0: 5}, "--since is offset 6, --until is 5"),
    ],
)
def test_bounds_that_do_not_fit_the_topic_are_a_wrong_use(
    since: dict[int, int], until: dict[int, int], message: str
) -> None:
    with pytest.raises(WrongUse, match=message):
        ranges_between("clicks", {0: 0, 1: 0}, {0: 9, 1: 900}, since, until)


# --- the catalogue


def test_attributes_are_those_that_the_item_had_then() -> None:
    items = ItemHistory()
    for at, value in [(10, b'{"price":1}'), (20, b'{"price":2}'), (30, None), (40, b'{"price":4}')]:
        items.add(b"i", value, at)
    assert [items.at("i", at) for at in (9, 10, 19, 20, 35, 99)] == [
        None, '{"price":1}', '{"price":1}', '{"price":2}', None, '{"price":4}',
    ]  # fmt: skip
    assert items.at("other", 99) is None


def test_catalogue_records_that_cannot_be_read_change_nothing_and_are_counted() -> None:
    items = ItemHistory()
    items.add(b"i", b'{"price":1}', 10)
    for key, value in [(b"i", b"{oops"), (b"i", b'"\xff"'), (None, b"{}"), (b"\xff", b"{}"), (b"", None)]:
        items.add(key, value, 20)
    assert (items.at("i", 99), items.unreadable) == ('{"price":1}', 5)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.none() | st.integers(0, 99))), st.integers(0, 9))
def test_the_latest_record_that_was_there_counts_whatever_the_clocks(
    records: list[tuple[str, int, int | None]], at: int
) -> None:
    items = ItemHistory()
    newest = {"a": -1, "b": -1}
    expected: dict[str, str | None] = {"a": None, "b": None}
    for item, time, value in records:
        text = None if value is None else str(value)
        items.add(item.encode(), None if text is None else text.encode(), time)
        newest[item] = max(newest[item], time)
        if newest[item] <= at:
            expected[item] = text
    assert {item: items.at(item, at) for item in "ab"} == expected


# --- what the stream would keep


def record(offset: int, click: Click, partition: int = 0, broker_ms: int = NOW_MS) -> Incoming:
    return Incoming(partition, offset, broker_ms, click.session_id.encode(), encode_click(click), [])


@st.composite
def topics(draw: st.DrawFn) -> list[list[Incoming]]:
    """Two partitions: late clicks, silences, duplicates, visitors without consent, records that are no clicks."""
    partitions: list[list[Incoming]] = []
    for partition in range(2):
        records: list[Incoming] = []
        at_ms = NOW_MS
        for offset in range(draw(st.integers(0, 25))):
            at_ms += 1000 * draw(st.sampled_from([0, 1, 1, 5, 60, 250, -30, -150]))
            event = draw(st.integers(0, offset)) if draw(st.integers(0, 4)) == 0 else offset
            session, item = f"s{partition}{draw(st.integers(0, 1))}", f"i{draw(st.integers(1, 60))}"
            consent = draw(st.sampled_from([None, None, None, True, False]))
            kind = draw(st.sampled_from(["view", "purchase"]))
            click = Click(f"e{event}", session, item, at_ms, event_type=kind, consent=consent)
            whole = record(offset, click, partition, at_ms + 5)
            odd = Incoming(partition, offset, at_ms, b"k", draw(st.sampled_from([b"{", b"{}", None])), [])
            records.append(odd if draw(st.integers(0, 9)) == 0 else whole)
        partitions.append(records)
    return partitions


def states_of(sourced: list[Sourced], recommender: Recommender) -> dict[str, tuple[object, ...]]:
    """Each session as its clicks left it, but for event ids, offsets and what the broker's clock said."""
    states: dict[str, SessionState] = {}
    for one in sourced:
        states.update(process(states, [one], recommender, Control()).states)
    return {
        name: (state.items, state.types, state.times, state.count, state.last_ms, state.last_list)
        for name, state in states.items()
    }


def exported(partitions: list[list[Incoming]], path: Path) -> tuple[ClickLog, LeftOut]:
    left_out, rows = LeftOut(), []
    for records in partitions:
        sieve = Sieve(SETTINGS, left_out)
        rows += [to_row(one, click, None) for one in records if (click := sieve.take(one)) is not None]
    path.unlink(missing_ok=True)
    if not rows:
        rows = [row(0, "nobody")]
    return write(path, rows), left_out


def streamed(partitions: list[list[Incoming]]) -> list[Sourced]:
    found = []
    for one in (one for records in partitions for one in records):
        try:
            found.append(Sourced(decode_record(one.key, one.value, one.headers), one.offset, one.timestamp_ms))
        except InvalidEvent:
            continue
    return found


@given(partitions=topics())
def test_an_exported_log_leaves_every_session_as_the_stream_left_it(
    partitions: list[list[Incoming]], recommender: Recommender, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log, left_out = exported(partitions, tmp_path_factory.getbasetemp() / "property.parquet")
    replayed = [Sourced(click, offset, click.timestamp_ms) for offset, click in enumerate(log.clicks())]
    found = states_of([one for one in replayed if one.click.session_id != "nobody"], recommender)
    assert found == states_of(streamed(partitions), recommender)
    dropped = left_out.dead_letters.total() + left_out.without_consent + left_out.duplicates
    kept = sum(name != "nobody" for name in log.frame["session_id"])
    assert kept + dropped == sum(map(len, partitions))


def test_what_is_left_out_is_counted_by_reason() -> None:
    left_out = LeftOut()
    sieve = Sieve(SETTINGS, left_out)
    first, later = Click("e1", "s", "i1", NOW_MS), Click("e1", "s", "i1", NOW_MS + 101_000)
    refused = Click("e2", "s", "i1", NOW_MS, consent=False)
    no_key = Incoming(0, 4, NOW_MS, None, encode_click(first), [])
    taken = [sieve.take(one) for one in (record(0, first), record(1, first), record(2, refused), no_key)]
    assert taken == [first, None, None, None]
    # After the gap a session begins anew and knows no event: the stream counts it, so the export has it.
    assert sieve.take(record(5, later)) == later
    assert (left_out.dead_letters, left_out.without_consent, left_out.duplicates) == ({"missing_key": 1}, 1, 1)


# --- the file


def test_a_late_click_stays_in_its_place_and_a_session_in_two_partitions_is_two(tmp_path: Path) -> None:
    rows = [row(0, "a", at_ms=9), row(1, "a", at_ms=5), row(2, "b", at_ms=7), row(0, "b", partition=1, at_ms=6)]
    log = write(tmp_path / "clicks.parquet", rows)
    assert log.frame.select("session_id", "item_id", "timestamp_ms").rows() == [
        ("b@2", "i0", 6), ("b", "i2", 7), ("a", "i0", 9), ("a", "i1", 5),
    ]  # fmt: skip
    assert log.summary()["exports"] == [{"topic": "clicks"}]


def test_the_same_rows_give_the_same_bytes_in_groups_that_are_written_as_they_come(tmp_path: Path) -> None:
    large = "x" * (40 * 2**20)
    rows = [row(offset, context=large) for offset in range(3)]
    for name in ("one", "two"):
        write(tmp_path / f"{name}.parquet", rows)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    with pq.ParquetFile(tmp_path / "one.parquet") as file:
        assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 1]


def test_training_reads_the_columns_that_it_needs_of_any_parquet_file(tmp_path: Path) -> None:
    frame = pl.DataFrame({"sid": ["a"], "item": [7], "time": [1_600_000_000], "attributes": [{"price": 1}]})
    frame.write_parquet(tmp_path / "other.parquet")
    log = read_log(tmp_path / "other.parquet")
    assert log.frame.select("session_id", "item_id", "timestamp_ms").rows() == [("a", "7", 1_600_000_000_000)]
    assert log.exports == ()


def test_an_export_of_a_newer_version_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is an export of format 2, this version reads format 1"):
        write(tmp_path / "clicks.parquet", [row(0)], b'{"format":2}')


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.parquet", "there.parquet exists already; exports are never overwritten: name another file"),
        ("clicks.csv", "clicks.csv ends in '.csv', but an export is Parquet"),
        ("nowhere/clicks.parquet", "there is no directory .*nowhere to write clicks.parquet to"),
    ],
)
def test_a_file_that_is_not_free_is_a_wrong_use(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.parquet").write_text("mine")
    with pytest.raises(WrongUse, match=message):
        write(tmp_path / name, [row(0)])
    assert [file.name for file in tmp_path.iterdir()] == ["there.parquet"]
    assert (tmp_path / "there.parquet").read_text() == "mine"


def test_a_folder_that_takes_no_file_is_a_wrong_use() -> None:
    with pytest.raises(WrongUse, match=r"/proc/clicks.parquet cannot be written \(No such file or directory\)"):
        write(Path("/proc/clicks.parquet"), [row(0)])


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let the operating system refuse to write more than this, as it does when a disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_takes_no_more_ends_the_export_with_a_sentence_and_nothing_left(tmp_path: Path) -> None:
    rows = [row(offset) for offset in range(20_000)]
    sentence = r"does not take the export \(File too large\) after 20000 clicks; nothing of it is left there"
    with file_size_limit(8192), pytest.raises(NextclickError, match=sentence):
        write(tmp_path / "clicks.parquet", rows)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> Iterator[Row]:
        yield row(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "clicks.parquet", interrupted())
    assert list(tmp_path.iterdir()) == []
