"""What every encoder promises, whatever its network."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import WrongUse
from training.batches import Asked, Sessions, pad
from training.data.sequences import Events
from training.models import (
    COREConfig,
    EncoderConfig,
    GRUConfig,
    HSTUConfig,
    LiGRConfig,
    LSTMConfig,
    SASRecConfig,
    SessionEncoder,
    build_encoder,
)
from training.models.attention import AttentionConfig

ITEMS, TYPES, WINDOW = 30, 3, 14

BOTH: dict[str, Any] = {"event_types": True, "silences": True}
LARGER: dict[str, Any] = {"blocks": 2, "heads": 3, "tied": False}
CONFIGS: dict[str, EncoderConfig] = {
    "gru": GRUConfig(dim=12, hidden=8),
    "gru, two layers, separate tables": GRUConfig(dim=12, hidden=8, layers=2, tied=False),
    "gru, inner products": GRUConfig(dim=12, hidden=8, temperature=None),
    "gru, types and silences": GRUConfig(dim=12, hidden=8, **BOTH),
    "lstm": LSTMConfig(dim=12, hidden=8),
    "lstm, two layers, separate tables, types": LSTMConfig(dim=12, hidden=8, layers=2, tied=False, event_types=True),
    "lstm, inner products": LSTMConfig(dim=12, hidden=8, temperature=None),
    "sasrec": SASRecConfig(dim=12, window=WINDOW, blocks=1),
    "sasrec, larger, silences": SASRecConfig(dim=12, window=WINDOW, silences=True, **LARGER),
    "sasrec, inner products": SASRecConfig(dim=12, window=WINDOW, temperature=None),
    "ligr": LiGRConfig(dim=12, window=WINDOW, blocks=1),
    "ligr, larger, types and silences": LiGRConfig(dim=12, window=WINDOW, **LARGER, **BOTH),
    "ligr, inner products": LiGRConfig(dim=12, window=WINDOW, temperature=None),
    "core": COREConfig(dim=12, window=WINDOW),
    "core, larger, types": COREConfig(dim=12, window=WINDOW, event_types=True, **LARGER),
    "core without blocks": COREConfig(dim=12, window=WINDOW, blocks=0),
    "core without blocks, types and silences": COREConfig(dim=12, window=WINDOW, blocks=0, **BOTH),
    "hstu": HSTUConfig(dim=12, window=WINDOW, blocks=1),
    "hstu, larger, types and silences": HSTUConfig(dim=12, window=WINDOW, **LARGER, **BOTH),
    "hstu, time of the query": HSTUConfig(dim=12, window=WINDOW, time_of="query", heads=2),
    "hstu, places only": HSTUConfig(dim=12, window=WINDOW, time_of="none"),
    "hstu, ages only, inner products": HSTUConfig(dim=12, window=WINDOW, places=False, temperature=None),
}

items = st.integers(1, ITEMS)
gaps_ms = st.sampled_from([0, 500, 7_000, 90_000, 4_000_000, 900_000_000, -5_000])
clicks = st.lists(st.tuples(items, st.integers(0, TYPES), gaps_ms), min_size=1, max_size=12)
Clicks = list[tuple[int, int, int]]


@pytest.fixture(scope="module", params=CONFIGS)
def encoder(request: pytest.FixtureRequest) -> SessionEncoder:
    """An encoder whose weights are all random, none of them zeros as some are at first."""
    torch.manual_seed(0)
    encoder = build_encoder(CONFIGS[request.param], ITEMS, TYPES).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, weights in encoder.named_parameters():
            if not name.startswith("items."):  # whose row 0 stays zeros
                weights.add_(0.3 * torch.randn_like(weights))
    return encoder


def _asked(session: Clicks, end: int | None = None) -> Asked:
    """The first events of a session (all but the last), and the time of the one after them."""
    rows, types, gaps = np.array([*session, (1, 0, 60_000)], dtype=np.int64).T
    times = 10**12 + np.cumsum(gaps)
    count = len(session) if end is None else end
    return Asked(Events(rows, types, times).before(count), int(times[count]))


def _sessions(encoder: SessionEncoder, *sessions: Clicks) -> Sessions:
    return pad([_asked(session) for session in sessions], encoder.time_of)


def _vectors(encoder: SessionEncoder, *asked: Asked) -> torch.Tensor:
    with torch.inference_mode():
        return encoder.session_vectors(pad(asked, encoder.time_of))


def _close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=2e-5)


def _wider(sessions: Sessions, extra: int) -> Sessions:
    """Pad further, with what means nothing."""

    def pad_last(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, extra))

    ages = sessions.ages
    return Sessions(
        items=pad_last(sessions.items),
        lengths=sessions.lengths,
        types=pad_last(sessions.types),
        silences=pad_last(sessions.silences),
        ages=None if ages is None else torch.nn.functional.pad(ages, (0, extra, 0, extra), value=3),
    )


@settings(max_examples=25, deadline=None)
@given(sessions=st.lists(clicks, min_size=1, max_size=5), extra=st.integers(1, 2))
def test_padding_never_changes_a_session_vector(encoder: SessionEncoder, sessions: list[Clicks], extra: int) -> None:
    with torch.inference_mode():
        padded = encoder.session_vectors(_wider(_sessions(encoder, *sessions), extra))
    for session, vector in zip(sessions, padded, strict=True):
        _close(vector, _vectors(encoder, _asked(session))[0])


@settings(max_examples=25, deadline=None)
@given(session=clicks)
def test_a_position_sees_only_what_came_before_it(encoder: SessionEncoder, session: Clicks) -> None:
    # And, where ages are those at the time of the query, when the next event comes.
    with torch.inference_mode():
        every = encoder(_sessions(encoder, session))[0]
    for end in range(1, len(session) + 1):
        _close(every[end - 1], _vectors(encoder, _asked(session, end))[0])


@pytest.mark.parametrize("encoder", [name for name in CONFIGS if name.startswith(("gru", "lstm"))], indirect=True)
@settings(max_examples=25, deadline=None)
@given(session=clicks)
def test_steps_end_where_the_whole_network_ends(encoder: SessionEncoder, session: Clicks) -> None:
    step = encoder.exported().eval()
    state = torch.zeros(1, encoder.state_size)
    with torch.inference_mode():
        inputs = encoder.read(_sessions(encoder, session))[0]
        for x in inputs:
            state, vector = step(x[None], state)
    _close(vector, _vectors(encoder, _asked(session)))


@pytest.mark.parametrize("encoder", [name for name in CONFIGS if not name.startswith(("gru", "lstm"))], indirect=True)
@settings(max_examples=25, deadline=None)
@given(sessions=st.lists(clicks, min_size=1, max_size=5))
def test_the_window_form_gives_what_the_whole_network_gives(encoder: SessionEncoder, sessions: list[Clicks]) -> None:
    whole = _sessions(encoder, *sessions)
    inputs = (encoder.read(whole), whole.lengths - 1, whole.ages)
    with torch.inference_mode():
        vectors = encoder.exported().eval()(*inputs[: 2 if encoder.time_of == "none" else 3])
    _close(vectors, _vectors(encoder, *(_asked(session) for session in sessions)))


SESSION: Clicks = [(1, 1, 0), (2, 2, 60_000), (3, 1, 60_000)]


@pytest.mark.parametrize(
    ("changed", "session"),
    [
        ("item", [(1, 1, 0), (5, 2, 60_000), (3, 1, 60_000)]),
        ("type", [(1, 1, 0), (2, 3, 60_000), (3, 1, 60_000)]),
        ("silence", [(1, 1, 0), (2, 2, 60_000), (3, 1, 4_000_000)]),
        ("first time", [(1, 1, 86_400_000), (2, 2, 60_000), (3, 1, 60_000)]),
    ],
)
def test_a_vector_changes_with_what_the_encoder_reads_and_with_nothing_else(
    encoder: SessionEncoder, changed: str, session: Clicks
) -> None:
    reads = {
        "item": True,
        "type": encoder.types is not None,
        "silence": encoder.silences is not None or encoder.time_of != "none",
        "first time": False,  # all later times move with it
    }
    one, other = _vectors(encoder, _asked(SESSION)), _vectors(encoder, _asked(session))
    assert (float((one - other).abs().max()) > 1e-4) == reads[changed]


def test_the_order_of_events_counts_but_in_a_plain_mean(encoder: SessionEncoder) -> None:
    turned = [(2, 2, 0), (1, 1, 0), (3, 1, 60_000)]
    straight = [(1, 1, 0), (2, 2, 0), (3, 1, 60_000)]
    difference = float((_vectors(encoder, _asked(straight)) - _vectors(encoder, _asked(turned))).abs().max())
    plain_mean = encoder.kind == "core" and len(encoder.get_submodule("blocks")) == 1  # type: ignore[arg-type]
    assert (difference > 1e-5) == (not plain_mean)


def test_the_time_of_the_query_counts_only_where_it_is_asked_for(encoder: SessionEncoder) -> None:
    asked = _asked(SESSION)
    late = asked._replace(at_ms=asked.at_ms + 86_400_000)
    changed = not torch.equal(_vectors(encoder, asked), _vectors(encoder, late))
    assert changed == (encoder.time_of == "query")


def test_types_and_silences_change_nothing_before_they_are_learnt() -> None:
    vectors = []
    for config in (SASRecConfig(dim=8, window=WINDOW), SASRecConfig(dim=8, window=WINDOW, **BOTH)):
        torch.manual_seed(0)
        encoder = build_encoder(config, ITEMS, TYPES).eval()
        torch.manual_seed(0)
        for weights in encoder.parameters():
            if weights.any():  # not so what begins as zeros
                torch.nn.init.normal_(weights.detach())
        vectors.append(_vectors(encoder, _asked(SESSION)))
    assert torch.equal(*vectors)


def test_tables_have_a_row_for_padding_that_is_zeros(encoder: SessionEncoder) -> None:
    for table in (encoder.item_vectors(), encoder.input_vectors()):
        if table is not None:
            assert table.shape == (ITEMS + 1, encoder.dim)
            assert not table[0].any()


def test_only_separate_tables_have_input_vectors_of_their_own(encoder: SessionEncoder) -> None:
    assert (encoder.input_vectors() is None) == encoder.items.tied


def test_vectors_have_length_one_where_scores_are_cosines(encoder: SessionEncoder) -> None:
    lengths = torch.cat([encoder.item_vectors()[1:], _vectors(encoder, _asked(SESSION))]).norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths)) == (encoder.scale != 1)


def test_dropout_works_in_training_only(encoder: SessionEncoder) -> None:
    sessions = _sessions(encoder, SESSION)
    encoder.train()
    try:
        assert not torch.equal(encoder(sessions), encoder(sessions))
    finally:
        encoder.eval()
    assert torch.equal(encoder(sessions), encoder(sessions))


def test_an_encoder_that_reads_times_says_so(encoder: SessionEncoder) -> None:
    assert encoder.timed == (encoder.silences is not None or encoder.time_of != "none")


def test_a_plain_mean_is_the_mean_of_the_items_read() -> None:
    encoder = build_encoder(COREConfig(dim=8, window=WINDOW, blocks=0), ITEMS).eval()
    vectors = encoder.item_vectors()
    mean = torch.stack([vectors[1], vectors[2], vectors[3]]).mean(dim=0)
    _close(_vectors(encoder, _asked(SESSION))[0], mean / mean.norm())


def test_core_drops_values_of_what_is_scored_in_training_alone() -> None:
    encoder = build_encoder(COREConfig(dim=40, window=WINDOW, dropout=0.0, item_dropout=0.0, scored_dropout=0.5), ITEMS)
    whole, rows = encoder.eval().item_vectors(), torch.arange(1, ITEMS + 1)
    for dropped in (encoder.train().item_vectors()[1:], encoder.score_vectors(rows)):
        assert 0.3 < float((dropped == 0).float().mean()) < 0.7
        _close(dropped.norm(dim=1), torch.ones(ITEMS))
        kept = torch.where(dropped == 0, 0.0, whole[1:])
        _close(dropped, kept / kept.norm(dim=1, keepdim=True))
    assert torch.equal(encoder.eval().score_vectors(rows), whole[1:])


ATTENTION = [SASRecConfig, LiGRConfig, COREConfig, HSTUConfig]


@pytest.mark.parametrize("config", [GRUConfig, LSTMConfig, *ATTENTION])
@pytest.mark.parametrize(
    ("field", "value"),
    [("dim", 0), ("dropout", 1.0), ("dropout", -0.1), ("temperature", 0.0), ("temperature", math.inf)],
)
def test_a_value_out_of_range_is_refused_by_name(
    config: Callable[..., EncoderConfig], field: str, value: float
) -> None:
    with pytest.raises(WrongUse, match=f"{field} .*not {value}"):
        config(**{field: value})


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (GRUConfig, "layers", 0),
        (LSTMConfig, "hidden", 0),
        *(
            (config, field, value)
            for config in ATTENTION
            for field, value in (("heads", 0), ("window", 0), ("blocks", -1))
        ),
        (SASRecConfig, "blocks", 0),
        (LiGRConfig, "blocks", 0),
        (HSTUConfig, "blocks", 0),
        (SASRecConfig, "expansion", 0.0),
        (LiGRConfig, "expansion", -1.0),
        (COREConfig, "expansion", 0.0),
        (COREConfig, "item_dropout", 1.0),
        (COREConfig, "scored_dropout", -0.5),
    ],
)
def test_a_size_out_of_range_is_refused_by_name(config: Callable[..., EncoderConfig], field: str, value: float) -> None:
    with pytest.raises(WrongUse, match=f"{field} .*not {value}"):
        config(**{field: value})


def test_a_plain_mean_has_its_configuration_checked_too() -> None:
    with pytest.raises(WrongUse, match=r"dropout .*not 1"):
        COREConfig(blocks=0, dropout=1.0)


@pytest.mark.parametrize("config", ATTENTION)
def test_heads_must_divide_the_width(config: Callable[..., AttentionConfig]) -> None:
    with pytest.raises(WrongUse, match="dim 100 cannot be cut into 3 heads"):
        config(dim=100, heads=3)


def test_core_has_a_temperature() -> None:
    with pytest.raises(WrongUse, match="temperature must be a number above 0"):
        COREConfig(temperature=None)
