"""The rank of every single case: to be kept, pooled over cycles, compared, or looked into with any tool."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from serving.ranks import Ranks
from training.data.cuts import HeldOut
from training.evaluation.cases import Cases, Ints

Over = Literal["sessions", "users"]

SCHEMA: dict[str, type[pl.DataType]] = {
    "case_id": pl.String,
    "session_id": pl.String,
    "user_id": pl.String,
    "position": pl.Int64,
    "item_id": pl.String,
    "rank": pl.Int64,
}


@dataclass(frozen=True)
class CaseRanks:
    """One model's ranks, one row a case, in the time order of the clicks to be predicted.

    Columns: `case_id` (the event id of the click to be predicted, as `ClickLog.clicks` makes it), `session_id`,
    `user_id` (null where the log has none), `position` (of the click in its session, from 0, so at least 1), `item_id`
    (what was clicked) and `rank` (from 1; 0 where it is in no list).
    """

    frame: pl.DataFrame

    def __len__(self) -> int:
        return self.frame.height

    @property
    def ranks(self) -> Ranks:
        """The ranks, `[n]`."""
        return self.frame.get_column("rank").to_numpy()

    def clusters(self, over: Over = "sessions") -> Ints:
        """Return a number for each case's session, or for its user (its session where the log has none), `[n]`."""
        column = pl.col("session_id") if over == "sessions" else pl.coalesce("user_id", "session_id")
        return self.frame.select(column.rank("dense")).to_series().cast(pl.Int64).to_numpy()

    def write(self, path: Path) -> None:
        """Write the table as Parquet."""
        self.frame.write_parquet(path)


def case_ranks(held_out: HeldOut, cases: Cases, ranks: Ranks) -> CaseRanks:
    """Put the ranks of cases beside what they are ranks of."""
    clicked = held_out.log.frame.select("session_id", "user_id", "item_id")[cases.click]
    prefix = held_out.log.fingerprint[:12]
    frame = clicked.with_columns(
        pl.Series("case_id", [f"{prefix}-{place}" for place in cases.click.tolist()], dtype=pl.String),
        pl.Series("position", cases.position, dtype=pl.Int64),
        pl.Series("rank", ranks, dtype=pl.Int64),
    )
    return CaseRanks(frame.select(*SCHEMA))


def pool(cycles: Sequence[CaseRanks]) -> CaseRanks:
    """Join the ranks of several cycles (`training.data.splits.cycles`) into one table, to count over all cases.

    Every cycle has its own catalogue, so what is counted over lists cannot be pooled.
    """
    return CaseRanks(pl.concat([part.frame for part in cycles]))


def same_cases(a: CaseRanks, b: CaseRanks) -> bool:
    """Tell whether two models were ranked on the same cases in the same order."""
    names = [name for name in SCHEMA if name != "rank"]
    return len(a) == len(b) and a.frame.select(names).equals(b.frame.select(names))
