import polars as pl
import pytest

from tests.public_data import public_data
from training.data.cuts import HeldOut
from training.data.dataset import counted, read_test, read_training
from training.data.protocol import parse_protocol
from training.data.readers import read_log
from training.data.splits import Training


@pytest.mark.parametrize(
    ("name", "rows", "sessions", "items"),
    [
        ("ml-1m/ml-1m.txt.gz", 999_611, 6_040, 3_416),
        ("ml-1m/ml1m_events.csv.gz", 1_000_209, 6_040, 3_706),
        ("serenade-sample/train.txt.gz", 113_601, 23_753, 18_009),
        ("rsc15-100k/yoochoose-clicks-100k_train_full.txt.gz", 70_278, 17_794, 2_933),
    ],
)
def test_published_files_have_the_published_counts(name: str, rows: int, sessions: int, items: int) -> None:
    log = read_log(public_data(name))
    assert (len(log), log.sessions, log.items, log.bad_rows) == (rows, sessions, items, 0)


def test_rows_of_one_second_stay_in_the_order_of_the_file() -> None:
    path = public_data("ml-1m/ml1m_events.csv.gz")
    raw = pl.read_csv(path, columns=["user_id", "movie_id", "timestamp"])
    expected = raw.sort("timestamp", maintain_order=True)["movie_id"].cast(pl.String)
    log = read_log(path)
    assert log.frame["item_id"].to_list() == expected.to_list()
    assert log.titles is not None
    assert log.titles["1"] == "Toy Story (1995)"


def test_all_diginetica_weeks_are_one_log_whose_last_seven_days_are_the_last_file() -> None:
    folder = public_data("diginetica-weeks")
    test = read_test(folder, parse_protocol("last-days:7"))
    last = read_log(folder / "week_16.txt.gz").frame
    in_week_16 = test.log.frame.filter(pl.col("timestamp_ms") >= last["timestamp_ms"][0])
    assert in_week_16.equals(last)
    # 48 clicks of week 15 belong to sessions that go on in week 16: no session straddles the cut.
    assert len(test.log) == last.height + 48


def test_a_directory_of_parts_is_train_validation_and_test() -> None:
    serenade = public_data("serenade-sample")
    training = read_training(serenade, parse_protocol("next-item"))
    test = read_test(serenade, parse_protocol("next-item"))
    assert (len(training.clicks), len(training.validation.log), len(test.log)) == (113_601, 1_451, 1_233)
    assert test.log.frame["timestamp_ms"].is_sorted()


def test_of_a_full_training_file_and_its_parts_the_parts_are_taken() -> None:
    training = read_training(public_data("rsc15-100k"), parse_protocol("next-item"))
    assert (len(training.clicks), len(training.validation.log)) == (53_254, 16_539)


def by(name: str, protocol: str) -> tuple[Training, HeldOut]:
    """Training and test of a public data set, the test as the protocol counts it."""
    path, held_by = public_data(name), parse_protocol(protocol)
    training = read_training(path, held_by)
    return training, counted(read_test(path, held_by), held_by.conventions, training.clicks.frame["item_id"].unique())


def test_the_ratio_of_all_diginetica_sessions() -> None:
    training, test = by("diginetica-weeks", "ratio:8-1-1")
    # 204,789 sessions: the first 163,831, then 20,479 and 20,479, less those of which nothing known is left.
    assert training.clicks.sessions == 204_789 * 9 // 10 * 8 // 9
    assert (training.validation.log.sessions, test.log.sessions) == (20_373, 20_326)
    assert test.cases == 76_601


def test_the_last_week_of_diginetica() -> None:
    training, test = by("diginetica-weeks", "last-week")
    assert (training.clicks.sessions, training.validation.cases, test.cases) == (176_976, 44_830, 60_648)


def test_movielens_users_whose_times_are_exact() -> None:
    training, test = by("ml-1m/ml1m_events.csv.gz", "leave-one-out-exact")
    tested = sorted(int(user) for user in set(test.log.frame["session_id"]))
    # Users 1 to 2999, and four later ones all of whose times happen to be exact.
    assert tested[:2999] == list(range(1, 3000))
    assert (test.cases, len(tested)) == (3_003, 3_003)
    assert len(training.clicks) == 1_000_209 - 2 * 6_040
