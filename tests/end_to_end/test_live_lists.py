"""The lists of the live pipeline against torch alone: the trained network, dense scores, no export, index or list code.

On real clicks (rsc15-100k) where they are, else on a generated shop.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.demo.run import changed_settings
from deploy.demo.topics_reader import read_values
from deploy.demo.worker import WorkerProcess
from deploy.replay import replay_clicks
from serving.events import Click, Recommendation, decode_recommendation
from serving.session import window_start
from stream.contract.topics import create_topics
from stream.settings import Settings
from tests.waiting import wait_for
from training.batches import Sessions
from training.data.dataset import read_test, read_training
from training.data.protocol import parse_protocol
from training.models import SessionEncoder
from training.recipes import find_recipe
from training.train import train_bundle

SESSIONS = 500
SCORE_TOLERANCE = 1e-5
RSC15 = Path(__file__).parents[3] / "shared" / "data" / "rsc15-100k"


def torch_scores(encoder: SessionEncoder, rows: Sequence[int], window: int) -> np.ndarray | None:
    """Scores of all items after a session of these rows (0 = unknown), `[N + 1]`; None where none is known."""
    known = [row for row in rows[window_start(len(rows), window) :] if row]
    if not known:
        return None
    with torch.inference_mode():
        nothing = torch.zeros(1, len(known), dtype=torch.int64)
        sessions = Sessions(torch.tensor([known]), torch.tensor([len(known)]), types=nothing, silences=nothing)
        vector = encoder.session_vectors(sessions)[0]
        return (encoder.item_vectors() @ vector).numpy()


def check_list(shown: Recommendation, scores: np.ndarray, current: int, row_of: Callable[[str], int]) -> None:
    """Same items in the same order, but for those whose scores are closer than the tolerance."""
    scores = scores.copy()
    scores[[0, current]] = -np.inf
    best = np.argsort(-scores, kind="stable")[: len(shown.items)]
    listed = [row_of(item.item_id) for item in shown.items]
    assert len(set(listed)) == len(listed)
    assert not {0, current} & set(listed)
    for place, (row, expected) in enumerate(zip(listed, best.tolist(), strict=True)):
        assert row == expected or abs(scores[row] - scores[expected]) <= SCORE_TOLERANCE, (place, shown)
        assert shown.items[place].score == pytest.approx(float(scores[row]), abs=SCORE_TOLERANCE)


@pytest.mark.end_to_end
def test_live_lists_are_those_of_torch_scoring_densely(
    shop: Path, kafka_broker: str, new_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    data = RSC15 if RSC15.exists() else shop
    recipe = find_recipe("quick")
    protocol = parse_protocol(recipe.protocol)
    trained = train_bundle(
        recipe, read_training(data, protocol, recipe.preparation), seed=1, out=tmp_path / "bundle", max_seconds=4
    )
    bundle, encoder = trained.bundle, trained.encoder
    assert encoder is not None
    encoder.eval()
    assert bundle.manifest.index is not None
    assert bundle.manifest.index.factory == "Flat"
    log = read_test(data, protocol, recipe.preparation).log
    sessions = log.frame.get_column("session_id").unique(maintain_order=True).head(SESSIONS).to_list()
    chosen = frozenset(sessions)
    clicks = [click for click in log.clicks() if click.session_id in chosen]

    lists = serve(clicks, new_settings(kafka_broker), tmp_path / "bundle")

    row_of = bundle.catalogue.row
    rows: dict[str, list[int]] = {}
    sources = set()
    for click in clicks:
        session = rows.setdefault(click.session_id, [])
        session.append(row_of(click.item_id))
        scores = torch_scores(encoder, session, recipe.window)
        sources.add(lists[click.event_id].source)
        if scores is None:
            assert lists[click.event_id].source == "popularity"
        else:
            check_list(lists[click.event_id], scores, session[-1], row_of)
    assert "encoder" in sources


def serve(clicks: list[Click], settings: Settings, bundle: Path) -> dict[str, Recommendation]:
    """Send the clicks through a real worker and return its lists by the click that they answer."""
    create_topics(settings)
    with WorkerProcess(bundle, changed_settings(settings)) as worker:
        replay_clicks(clicks, settings.kafka, settings.topics.clicks, rate=0)

        def all_lists() -> list[bytes]:
            worker.check()
            values = read_values(settings.kafka, settings.topics.recommendations)
            return values if len(values) >= len(clicks) else []

        lists = [decode_recommendation(value) for value in wait_for(all_lists, 60)]
    assert len(lists) == len(clicks)
    return {shown.trigger_event_id: shown for shown in lists}
