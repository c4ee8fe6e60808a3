import logging

import numpy as np
import onnx
import pytest
import torch

from serving.encoders import RecurrentEncoder
from tests.public_data import public_data
from tests.training.conftest import as_rows
from training.data.dataset import read_training
from training.data.generator import generate
from training.data.sequences import Rows, build_catalogue, to_sequences
from training.data.splits import parse_protocol
from training.errors import TrainingError
from training.export import OPSET, check_parity, export_step
from training.models import EncoderConfig, GRUConfig, LSTMConfig, SessionEncoder, build_encoder

SESSIONS = 1000


def _sessions(name: str) -> tuple[list[Rows], int]:
    """Return 1,000 sessions and the size of their catalogue."""
    if name == "generated":
        clicks = generate(SESSIONS, 500, 0)
    else:
        clicks = read_training(public_data(name), parse_protocol("next-item")).clicks
    catalogue = build_catalogue(clicks.frame)
    return to_sequences(clicks.frame, catalogue)[:SESSIONS], len(catalogue)


def _encoder(config: EncoderConfig, items: int) -> SessionEncoder:
    torch.manual_seed(0)
    return build_encoder(config, items)


@pytest.fixture(
    scope="module",
    params=[GRUConfig(), LSTMConfig(layers=2, hidden=64, tied=False), GRUConfig(temperature=None)],
    ids=["gru", "lstm of two layers", "gru of inner products"],
)
def exported(request: pytest.FixtureRequest) -> tuple[SessionEncoder, bytes]:
    encoder = _encoder(request.param, 500)
    return encoder, export_step(encoder)


def test_the_export_scores_as_the_trained_network_does(exported: tuple[SessionEncoder, bytes]) -> None:
    sessions, _ = _sessions("generated")
    difference, other_lists = check_parity(*exported, sessions, window=50)
    assert difference <= 1e-5
    assert other_lists == 0


def test_the_export_scores_as_the_trained_network_does_on_real_sessions() -> None:
    sessions, items = _sessions("serenade-sample")
    encoder = _encoder(GRUConfig(), items)
    difference, other_lists = check_parity(encoder, export_step(encoder), sessions, window=50)
    assert (len(sessions), other_lists) == (1000, 0)
    assert difference <= 1e-5


@pytest.mark.parametrize(("temperature", "moved"), [(0.07, 4e-5), (None, 1e-6)])
def test_cosines_agree_within_1e_5_and_inner_products_relative_to_the_largest(
    temperature: float | None, moved: float
) -> None:
    encoder = _encoder(GRUConfig(dim=8, hidden=8, temperature=temperature), 20)
    with torch.no_grad():
        encoder.items.output.weight *= 1000
    step = export_step(encoder)
    with torch.no_grad():
        encoder.get_parameter("project.bias").add_(moved)
    sessions = as_rows([[1, 2, 3], [4, 5]])
    if temperature is not None:
        with pytest.raises(TrainingError, match="at most 1e-05 is rounding"):
            check_parity(encoder, step, sessions, window=50)
    else:
        assert check_parity(encoder, step, sessions, window=50).difference > 1e-5


def test_a_step_does_not_depend_on_what_else_is_in_the_batch(exported: tuple[SessionEncoder, bytes]) -> None:
    encoder, step = exported
    table = encoder.input_vectors()
    inputs = (encoder.item_vectors() if table is None else table).detach().numpy()
    runtime = RecurrentEncoder(step, inputs, state_size=encoder.state_size, dim=encoder.dim, window=50, bundle="export")
    random = np.random.default_rng(0)
    rows = random.integers(1, 501, 64).tolist()
    states = random.normal(size=(64, encoder.state_size)).astype(np.float32)
    alone = [runtime.step([row], state[None]) for row, state in zip(rows, states, strict=True)]
    for size in (1, 2, 3, 7, 16, 64):
        state_out, vectors = runtime.step(rows[:size], states[:size])
        assert np.array_equal(state_out, np.concatenate([state for state, _ in alone[:size]]))
        assert np.array_equal(vectors, np.concatenate([vector for _, vector in alone[:size]]))


def test_the_file_states_its_opset_and_says_nothing_of_the_machine(exported: tuple[SessionEncoder, bytes]) -> None:
    _, step = exported
    model = onnx.load_from_string(step)
    onnx.checker.check_model(model)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert b"/training/" not in step
    assert b"stack_trace" not in step


def test_the_same_weights_give_the_same_bytes() -> None:
    first, second = (export_step(_encoder(GRUConfig(dim=8, hidden=8), 20)) for _ in range(2))
    assert first == second


def test_an_export_of_other_weights_is_refused() -> None:
    step = export_step(_encoder(GRUConfig(dim=8, hidden=8), 20))
    torch.manual_seed(1)
    other = build_encoder(GRUConfig(dim=8, hidden=8), 20)
    with pytest.raises(TrainingError, match="the exported gru gives scores up to"):
        check_parity(other, step, as_rows([[1, 2, 3]]), window=50)


def test_the_export_is_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    export_step(_encoder(GRUConfig(dim=8, hidden=8), 20))
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
