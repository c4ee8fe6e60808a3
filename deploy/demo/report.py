"""What the demo says at its end."""

import msgspec

from deploy.demo.scoreboard import K, Standing


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one demo, as `--report` writes them."""

    clicks_replayed: int
    recommendations_expected: int
    recommendations: int
    distinct_recommendation_ids: int
    missing: int
    dead_letters: int
    hit_rate_at_20: float
    popular_hit_rate_at_20: float
    sr_hit_rate_at_20: float
    hit_rate_cases: int
    latency_ms: dict[str, float | None]
    seconds: float
    broker: str
    bundle: str


def make_report(
    standing: Standing, *, expected: int, dead_letters: int, seconds: float, broker: str, bundle: str
) -> Report:
    """Put the last standing into a report."""
    return Report(
        clicks_replayed=standing.sent,
        recommendations_expected=expected,
        recommendations=standing.received,
        distinct_recommendation_ids=standing.distinct,
        missing=expected - standing.answered,
        dead_letters=dead_letters,
        hit_rate_at_20=standing.hit_rates["nextclick"],
        popular_hit_rate_at_20=standing.hit_rates["popular"],
        sr_hit_rate_at_20=standing.hit_rates["sr"],
        hit_rate_cases=standing.cases,
        latency_ms=standing.latency_ms,
        seconds=round(seconds, 1),
        broker=broker,
        bundle=bundle,
    )


def sentences(report: Report) -> list[str]:
    """Return the report in words."""
    latency = ", ".join(f"{name} {value:.1f} ms" for name, value in report.latency_ms.items() if value is not None)
    return [
        f"{report.clicks_replayed:,} clicks went in, {report.recommendations:,} lists came back "
        f"({report.missing} missing, {report.dead_letters} dead letters) on {report.broker}.",
        f"From click to list: {latency}.",
        f"{report.hit_rate_at_20:.1%} of {report.hit_rate_cases:,} next clicks were in the {K} items shown before; "
        f"sequential rules would have had {report.sr_hit_rate_at_20:.1%}, the most popular items "
        f"{report.popular_hit_rate_at_20:.1%}.",
        f"Bundle {report.bundle}, {report.seconds:.0f} seconds in all.",
    ]
