"""What every encoder promises, whatever its network."""

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import WrongUse
from tests.training.conftest import as_rows
from training.batches import pad
from training.data.sequences import Rows
from training.models import EncoderConfig, GRUConfig, LSTMConfig, SessionEncoder, build_encoder

ITEMS = 30

CONFIGS: dict[str, EncoderConfig] = {
    "gru": GRUConfig(dim=12, hidden=8),
    "gru, two layers, separate tables": GRUConfig(dim=12, hidden=8, layers=2, tied=False),
    "gru, inner products": GRUConfig(dim=12, hidden=8, temperature=None),
    "lstm": LSTMConfig(dim=12, hidden=8),
    "lstm, two layers, separate tables": LSTMConfig(dim=12, hidden=8, layers=2, tied=False),
    "lstm, inner products": LSTMConfig(dim=12, hidden=8, temperature=None),
}

sessions = st.lists(st.lists(st.integers(1, ITEMS), min_size=1, max_size=12), min_size=1, max_size=5)


@pytest.fixture(scope="module", params=CONFIGS)
def encoder(request: pytest.FixtureRequest) -> SessionEncoder:
    torch.manual_seed(0)
    return build_encoder(CONFIGS[request.param], ITEMS).eval()


def _vectors(encoder: SessionEncoder, sessions: Sequence[Rows]) -> torch.Tensor:
    with torch.inference_mode():
        return encoder.session_vectors(*pad(sessions))


@settings(max_examples=40, deadline=None)
@given(sessions=sessions, extra=st.integers(1, 9))
def test_padding_never_changes_a_session_vector(encoder: SessionEncoder, sessions: list[list[int]], extra: int) -> None:
    items, lengths = pad(as_rows(sessions))
    wider = torch.cat([items, torch.zeros(len(items), extra, dtype=torch.int64)], dim=1)
    with torch.inference_mode():
        padded = encoder.session_vectors(wider, lengths)
    for session, vector in zip(as_rows(sessions), padded, strict=True):
        torch.testing.assert_close(vector, _vectors(encoder, [session])[0], rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(session=st.lists(st.integers(1, ITEMS), min_size=2, max_size=12))
def test_a_position_sees_only_what_came_before_it(encoder: SessionEncoder, session: list[int]) -> None:
    items, lengths = pad(as_rows([session]))
    with torch.inference_mode():
        every = encoder(items, lengths)[0]
    for end in range(1, len(session) + 1):
        torch.testing.assert_close(every[end - 1], _vectors(encoder, as_rows([session[:end]]))[0], rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(session=st.lists(st.integers(1, ITEMS), min_size=1, max_size=12))
def test_steps_end_where_the_whole_network_ends(encoder: SessionEncoder, session: list[int]) -> None:
    step = encoder.step_module().eval()
    inputs = encoder.input_vectors()
    inputs = encoder.item_vectors() if inputs is None else inputs
    state = torch.zeros(1, encoder.state_size)
    with torch.inference_mode():
        for row in session:
            state, vector = step(inputs[row : row + 1], state)
    torch.testing.assert_close(vector, _vectors(encoder, as_rows([session])), rtol=0, atol=1e-6)


def test_tables_have_a_row_for_padding_that_is_zeros(encoder: SessionEncoder) -> None:
    for table in (encoder.item_vectors(), encoder.input_vectors()):
        if table is not None:
            assert table.shape == (ITEMS + 1, encoder.dim)
            assert not table[0].any()


def test_only_separate_tables_have_input_vectors_of_their_own(encoder: SessionEncoder) -> None:
    assert (encoder.input_vectors() is None) == encoder.items.tied


def test_vectors_have_length_one_where_scores_are_cosines(encoder: SessionEncoder) -> None:
    lengths = torch.cat([encoder.item_vectors()[1:], _vectors(encoder, as_rows([[3, 5]]))]).norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths)) == (encoder.scale != 1)


def test_dropout_works_in_training_only(encoder: SessionEncoder) -> None:
    items, lengths = pad(as_rows([[1, 2, 3]]))
    encoder.train()
    try:
        assert not torch.equal(encoder(items, lengths), encoder(items, lengths))
    finally:
        encoder.eval()
    assert torch.equal(encoder(items, lengths), encoder(items, lengths))


@pytest.mark.parametrize("config", [GRUConfig, LSTMConfig])
@pytest.mark.parametrize(
    ("field", "value"), [("dim", 0), ("layers", 0), ("dropout", 1.0), ("dropout", -0.1), ("temperature", 0.0)]
)
def test_a_value_out_of_range_is_refused_by_name(
    config: Callable[..., EncoderConfig], field: str, value: float
) -> None:
    with pytest.raises(WrongUse, match=f"{field} .*not {value}"):
        config(**{field: value})
