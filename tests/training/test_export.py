import logging
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch

from serving.encoders import RecurrentEncoder, Window, WindowEncoder
from serving.encoders.events import SILENCES
from tests.public_data import public_data
from tests.training.conftest import as_events
from training.data.dataset import read_training
from training.data.generator import generate
from training.data.protocol import parse_protocol
from training.data.sequences import Events, build_catalogue, to_events
from training.errors import TrainingError
from training.export import OPSET, check_parity, event_tables, export_encoder
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

SESSIONS = 1000
ITEMS, TYPES = 500, 2

BOTH: dict[str, Any] = {"event_types": True, "silences": True}
CONFIGS: dict[str, EncoderConfig] = {
    "gru": GRUConfig(),
    "gru of inner products, types and silences": GRUConfig(temperature=None, **BOTH),
    "lstm of two layers, separate tables": LSTMConfig(layers=2, hidden=64, tied=False),
    "sasrec": SASRecConfig(dim=64),
    "sasrec of two heads, separate tables, silences": SASRecConfig(
        dim=64, window=200, heads=2, tied=False, silences=True
    ),
    "ligr of inner products, types and silences": LiGRConfig(dim=64, window=200, temperature=None, **BOTH),
    "core": COREConfig(dim=64),
    "core without blocks": COREConfig(dim=64, blocks=0, window=200),
    "hstu": HSTUConfig(dim=64, window=200),
    "hstu, time of the query, two heads": HSTUConfig(dim=50, heads=2, time_of="query"),
}


def _sessions(name: str) -> tuple[list[Events], int]:
    """Return 1,000 sessions and the size of their catalogue; generated ones have two types of events."""
    if name == "generated":
        clicks = generate(SESSIONS, ITEMS, 0)
    else:
        clicks = read_training(public_data(name), parse_protocol("next-item")).clicks
    catalogue = build_catalogue(clicks.frame)
    sessions = to_events(clicks.frame, catalogue, ["view"])[:SESSIONS]
    random = np.random.default_rng(0)
    return [Events(s.rows, random.integers(0, TYPES + 1, len(s)), s.times) for s in sessions], len(catalogue)


def _encoder(config: EncoderConfig, items: int = 20) -> SessionEncoder:
    """Return an encoder in which nothing is zeros, as some weights are at first."""
    torch.manual_seed(0)
    encoder = build_encoder(config, items, TYPES)  # type: ignore[arg-type]
    with torch.no_grad():
        for name, weights in encoder.named_parameters():
            if not name.startswith("items."):
                weights.add_(0.05 * torch.randn_like(weights))
    return encoder.eval()


class Exported(NamedTuple):
    encoder: SessionEncoder
    network: bytes
    window: int


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request: pytest.FixtureRequest) -> Exported:
    config = CONFIGS[request.param]
    encoder = _encoder(config, ITEMS)
    return Exported(encoder, export_encoder(encoder), config.window if isinstance(config, AttentionConfig) else 50)


STEPS = pytest.mark.parametrize(
    "exported", [name for name in CONFIGS if name.startswith(("gru", "lstm"))], indirect=True
)
WINDOWS = pytest.mark.parametrize(
    "exported", [name for name in CONFIGS if not name.startswith(("gru", "lstm"))], indirect=True
)


def test_the_export_scores_as_the_trained_network_does(exported: Exported) -> None:
    sessions, _ = _sessions("generated")
    difference, other_lists = check_parity(exported.encoder, exported.network, sessions, exported.window)
    assert difference <= (1e-5 if exported.encoder.items.unit_norm else 1e-4)
    # Where a score is another by rounding: a plain mean scores the items of a session of two alike.
    assert other_lists <= 20


@pytest.mark.parametrize("config", [GRUConfig(), LiGRConfig(dim=64)], ids=["gru", "ligr"])
def test_the_export_scores_as_the_trained_network_does_on_real_sessions(config: EncoderConfig) -> None:
    sessions, items = _sessions("serenade-sample")
    encoder = _encoder(config, items)
    difference, other_lists = check_parity(encoder, export_encoder(encoder), sessions, window=50)
    assert (len(sessions), other_lists) == (1000, 0)
    assert difference <= 1e-5


@pytest.mark.parametrize(("temperature", "moved"), [(0.07, 4e-5), (None, 1e-6)])
def test_cosines_agree_within_1e_5_and_inner_products_relative_to_the_largest(
    temperature: float | None, moved: float
) -> None:
    encoder = _encoder(GRUConfig(dim=8, hidden=8, temperature=temperature))
    with torch.no_grad():
        encoder.items.output.weight *= 1000
    step = export_encoder(encoder)
    with torch.no_grad():
        encoder.get_parameter("project.bias").add_(moved)
    sessions = as_events([[1, 2, 3], [4, 5]])
    if temperature is not None:
        with pytest.raises(TrainingError, match="at most 1e-05 is rounding"):
            check_parity(encoder, step, sessions, window=50)
    else:
        assert check_parity(encoder, step, sessions, window=50).difference > 1e-5


@STEPS
def test_a_step_does_not_depend_on_what_else_is_in_the_batch(exported: Exported) -> None:
    encoder, step, window = exported
    runtime = RecurrentEncoder(
        step, event_tables(encoder), state_size=encoder.state_size, dim=encoder.dim, window=window, bundle="export"
    )
    random = np.random.default_rng(0)
    events = [(int(row), int(row) % TYPES, int(row) % SILENCES) for row in random.integers(1, ITEMS + 1, 64)]
    states = random.normal(size=(64, encoder.state_size)).astype(np.float32)
    alone = [runtime.step([event], state[None]) for event, state in zip(events, states, strict=True)]
    for size in (1, 2, 3, 7, 16, 64):
        state_out, vectors = runtime.step(events[:size], states[:size])
        assert np.array_equal(state_out, np.concatenate([state for state, _ in alone[:size]]))
        assert np.array_equal(vectors, np.concatenate([vector for _, vector in alone[:size]]))


@WINDOWS
def test_a_windows_vector_does_not_depend_on_what_else_is_in_the_batch(exported: Exported) -> None:
    """Bit for bit, for windows of every length, in batches of any mixture."""
    encoder, network, longest = exported
    runtime = WindowEncoder(network, event_tables(encoder), dim=encoder.dim, window=longest, time_of=encoder.time_of)
    random = np.random.default_rng(0)
    windows = [_window(random, length) for length in range(1, longest + 1, max(1, longest // 60)) for _ in range(2)]
    windows = [windows[place] for place in random.permutation(len(windows))]
    alone = np.concatenate([runtime.vectors([window]) for window in windows])
    for size in (2, 3, 7, 64):
        for begin in range(0, len(windows), size):
            together = runtime.vectors(windows[begin : begin + size])
            assert together.tobytes() == alone[begin : begin + size].tobytes(), (size, begin)


def _window(random: np.random.Generator, length: int) -> Window:
    columns = (random.integers(0, bound, length) for bound in (ITEMS, TYPES + 1, SILENCES))
    times_ms = np.cumsum(random.integers(0, 10**7, length))
    events = [(row + 1, number, quiet) for row, number, quiet in zip(*(c.tolist() for c in columns), strict=True)]
    return Window(events, times_ms, int(times_ms[-1]) + 5000)


def test_the_file_states_its_opset_and_says_nothing_of_the_machine(exported: Exported) -> None:
    encoder, network, _ = exported
    model = onnx.load_from_string(network)
    onnx.checker.check_model(model)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert b"/training/" not in network
    assert b"stack_trace" not in network
    inputs = {"step": ["x", "state"], "window": ["x", "last", "ages"][: 2 if encoder.time_of == "none" else 3]}
    assert [tensor.name for tensor in model.graph.input] == inputs[encoder.form]


@pytest.mark.parametrize(
    "exported", ["gru", "lstm of two layers, separate tables", "sasrec", "core", "hstu"], indirect=True
)
def test_the_same_weights_give_the_same_bytes_quietly(
    exported: Exported, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    capfd.readouterr()
    caplog.clear()
    exported.encoder.train()
    assert export_encoder(exported.encoder) == exported.network
    assert exported.encoder.training
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


@pytest.mark.parametrize("config", [GRUConfig(dim=8, hidden=8), SASRecConfig(dim=8, blocks=1)], ids=["gru", "sasrec"])
def test_an_export_of_other_weights_is_refused(config: EncoderConfig) -> None:
    network = export_encoder(_encoder(config))
    torch.manual_seed(1)
    other = build_encoder(config, 20)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=f"the exported {other.kind} gives scores up to"):
        check_parity(other, network, as_events([[1, 2, 3]]), window=50)
