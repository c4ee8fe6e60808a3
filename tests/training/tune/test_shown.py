import io
import math

import pytest
from rich.console import Console

from training.tune import Record, Seen, Trial
from training.tune.shown import options_line, print_record, shown_search

VALUES = {"counters.0.window": "5", "counters.1.window": "9", "blend.candidates": "300", "index": "HNSW8 efSearch=9"}


def _trial(number: int, **other: object) -> Trial:
    trial = Trial(stage="counters", number=number, values=dict(VALUES), drawn={})
    for name, value in other.items():
        setattr(trial, name, value)
    return trial


ENDED = [
    (_trial(3, state="complete", figure=0.25), "counters 4/8: trial 3 0.2500, best 0.2500\n"),
    (_trial(3, state="failed", error="no [b]good[/b]"), "counters 4/8: trial 3 failed: no [b]good[/b], best 0.2500\n"),
    (
        _trial(3, state="pruned", figure=0.125, epochs=[0.1, 0.125]),
        "counters 4/8: trial 3 pruned after epoch 2 with 0.1250, best 0.2500\n",
    ),
    (_trial(3, epochs=[0.1]), "counters 4/8: trial 3 cut short after epoch 1, best 0.2500\n"),
]


def _shown(console: Console, trial: Trial | None) -> None:
    with shown_search(console) as seen:
        seen(Seen(stage="counters", number=3, trials=8, done=0.4, eta_s=75.4, best=0.25, trial=trial))


@pytest.mark.parametrize(("trial", "line"), ENDED)
def test_a_file_gets_a_line_for_each_trial(trial: Trial, line: str) -> None:
    file = io.StringIO()
    _shown(Console(file=file), trial)
    assert file.getvalue() == line


def test_a_terminal_gets_a_bar_with_the_time_left() -> None:
    file = io.StringIO()
    _shown(Console(file=file, force_terminal=True, width=120, color_system=None), None)
    assert "40 %  counters 4/8, best 0.2500  1:15 left" in file.getvalue()


def test_before_the_first_trial_there_is_nothing_to_say() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    with shown_search(console) as seen:
        seen(Seen(stage="encoder", number=0, trials=8, done=0.0, eta_s=math.inf))
    assert "0 %  encoder 1/8  " in file.getvalue()


def _record(trials: list[Trial]) -> Record:
    record = Record(
        command="",
        code="",
        recipe="r",
        set=["exclude=none"],
        space=dict.fromkeys(VALUES, ""),
        parameters={},
        protocol="next-item",
        data={},
        monitor={"counters": "mrr@20"},
        seed=0,
        trials=trials,
    )
    record.conclude()
    return record


def test_the_table_has_the_best_ten_first_and_keys_as_short_as_they_are_clear() -> None:
    trials = [_trial(number, state="complete", figure=number / 100) for number in range(12)]
    trials.append(_trial(12, state="pruned", figure=0.9, epochs=[0.9]))
    file = io.StringIO()
    print_record(_record(trials), Console(file=file, width=200))
    title, heading, *rows = file.getvalue().splitlines()
    assert title == "counters, 13 trials, validation part"
    assert heading.split() == ["trial", "mrr@20", "epochs", "seconds", "state", "values"]
    assert [int(row.split()[0]) for row in rows] == list(range(11, 1, -1))
    assert rows[0].split()[1:4] == ["0.1100", "0.0", "complete"]
    assert rows[0].rstrip().endswith("counters.0.window=5 counters.1.window=9 candidates=300 index=HNSW8 efSearch=9")


def test_the_options_of_the_best_are_words_of_a_shell() -> None:
    assert options_line(_record([])) == ""
    line = options_line(_record([_trial(0, state="complete", figure=0.5)]))
    assert line.startswith("--set exclude=none --set counters.0.window=5 ")
    assert line.endswith("--set 'index=HNSW8 efSearch=9'")
