"""HSTU of two blocks as RecTools trains it, on the file and the split of `ml1m_time`: what our row is compared with.

Configuration, loss, early stopping and the time of the query as an input: as in RecTools' own tutorial for this data
set (examples/tutorials/transformers_HSTU_tutorial.ipynb), but for two things: the epoch is chosen by its validation
Recall@10 with the tutorial's patience of 5 on a CPU, and ranks are written down for each user instead of means alone.

    python rectools_hstu.py ml1m_events.csv.gz OUT.csv --seed 0 [--epochs 100]

Runs in RecTools' environment, without nextclick: this file imports nothing of it. OUT has the columns `user_id`,
`item_id` and `rank` (0: not among the first 200). The last line printed says as JSON what was trained.
"""

import argparse
import json
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rectools import Columns
from rectools.dataset import Dataset
from rectools.dataset.context import get_context
from rectools.models import HSTUModel
from rectools.models.nn.item_net import IdEmbeddingsItemNet
from rectools.models.nn.transformers.utils import leave_one_out_mask

K = 200
PATIENCE = 5


class Recall(Callback):
    """Recall@10 of the validation clicks, seen items left out: what RecTools' tutorial stops by."""

    def __init__(self) -> None:
        self._hits: list[torch.Tensor] = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, torch.Tensor],
        batch: dict[str, torch.Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the hits of a batch."""
        logits = outputs.get("logits")
        if logits is None:
            logits = pl_module.torch_model(batch)[:, -1, :]
        seen = batch["x"]
        logits = logits.scatter(1, seen, -torch.inf)
        top = logits.topk(10, dim=1).indices
        self._hits.append((top == batch["y"].view(-1, 1)).any(dim=1).float())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch's figure."""
        if self._hits:
            recall = float(torch.cat(self._hits).mean())
            pl_module.log("recall@10", recall, on_step=False, on_epoch=True)
            print(f"epoch {trainer.current_epoch}: validation recall@10 {recall:.4f}", flush=True)
        self._hits.clear()


def read(path: Path) -> pd.DataFrame:
    """Return the clicks, stably in the order of their times."""
    frame = pd.read_csv(path)
    frame = frame.sort_values("timestamp", kind="stable")
    return pd.DataFrame(
        {
            Columns.User: frame["user_id"],
            Columns.Item: frame["movie_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.to_datetime(frame["timestamp"], unit="s"),
            "exact": frame["exact"],
        }
    )


def main() -> None:
    """Train, rank and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=100)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    seed_everything(options.seed, workers=True)
    clicks = read(options.data)
    last = clicks.groupby(Columns.User).cumcount(ascending=False) == 0
    train, test = clicks[~last], clicks[last]
    tested = test[test[Columns.User].isin(clicks.groupby(Columns.User)["exact"].min().loc[lambda x: x == 1].index)]

    def trainer() -> Trainer:
        kept = ModelCheckpoint(dirpath=options.out.parent, monitor="recall@10", mode="max", filename=options.out.stem)
        return Trainer(
            accelerator="cpu",
            min_epochs=1,
            max_epochs=options.epochs,
            deterministic=True,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            callbacks=[Recall(), kept, EarlyStopping(monitor="recall@10", mode="max", patience=PATIENCE)],
        )

    model = HSTUModel(
        session_max_len=200,
        lightning_module_kwargs={"logits_t": 0.05},
        item_net_block_types=(IdEmbeddingsItemNet,),
        get_val_mask_func=leave_one_out_mask,
        get_trainer_func=trainer,
        loss="sampled_softmax",
        n_negatives=128,
        use_pos_emb=True,
        dropout_rate=0.2,
        n_factors=50,
        n_heads=1,
        n_blocks=2,
        lr=0.001,
        batch_size=128,
        relative_time_attention=True,
        relative_pos_attention=True,
    )
    columns = [Columns.User, Columns.Item, Columns.Weight, Columns.Datetime]
    dataset = Dataset.construct(train[columns])
    model.fit(dataset)
    # The model trains with a copy of the trainer, callbacks and all.
    checkpoint = model.fit_trainer.checkpoint_callback
    model.load_weights_from_checkpoint(checkpoint.best_model_path)
    lists = model.recommend(
        users=tested[Columns.User].unique(),
        dataset=dataset,
        k=K,
        filter_viewed=True,
        context=get_context(tested[columns]),
    )
    found = tested[[Columns.User, Columns.Item]].merge(
        lists[[Columns.User, Columns.Item, Columns.Rank]], on=[Columns.User, Columns.Item], how="left"
    )
    ranks = found[Columns.Rank].fillna(0).astype(np.int64)
    found.assign(rank=ranks)[[Columns.User, Columns.Item, "rank"]].to_csv(options.out, index=False)
    hit = (ranks >= 1) & (ranks <= 10)
    told = {
        "version": version("rectools"),
        "epochs": model.fit_trainer.current_epoch,
        "validation": {"hr@10": float(checkpoint.best_model_score)},
        "hr@10": float(hit.mean()),
        "ndcg@10": float(np.where(hit, 1 / np.log2(ranks + 1.0), 0).mean()),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
