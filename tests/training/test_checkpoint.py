import json
from pathlib import Path

import pytest
import torch

from training.checkpoint import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint
from training.errors import CheckpointError

RUN = {"recipe": {"model": {"dim": 8}, "window": 50}, "seed": 1}


def _saved(directory: Path, value: float = 1.0) -> Checkpoint:
    checkpoint = Checkpoint(RUN, {"epochs": [1, 2]}, {"a": torch.full((2, 3), value), "b/step": torch.tensor(4.0)})
    save_checkpoint(directory, checkpoint)
    return checkpoint


def _tensors_file(directory: Path) -> Path:
    (file,) = directory.glob("*.safetensors")
    return file


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    saved = _saved(tmp_path / "new" / "folder")
    loaded = load_checkpoint(tmp_path / "new" / "folder", RUN)
    assert (loaded.run, loaded.progress) == (saved.run, saved.progress)
    assert loaded.tensors.keys() == saved.tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in saved.tensors.items())


def test_a_newer_checkpoint_takes_the_place_of_the_older(tmp_path: Path) -> None:
    _saved(tmp_path, 1.0)
    _saved(tmp_path, 2.0)
    assert load_checkpoint(tmp_path, RUN).tensors["a"][0, 0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [_tensors_file(tmp_path).name, CHECKPOINT]


def test_a_process_killed_between_the_two_files_leaves_the_older_checkpoint(tmp_path: Path) -> None:
    _saved(tmp_path, 1.0)
    before = (tmp_path / CHECKPOINT).read_bytes(), _tensors_file(tmp_path)
    stale = before[1].read_bytes()
    _saved(tmp_path, 2.0)
    # As it would be had the second save stopped before the rename of the JSON file.
    (tmp_path / CHECKPOINT).write_bytes(before[0])
    before[1].write_bytes(stale)
    (tmp_path / ".unfinished").write_bytes(b"half")
    assert load_checkpoint(tmp_path, RUN).tensors["a"][0, 0] == 1


def test_no_checkpoint_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*start without --resume"):
        load_checkpoint(tmp_path, RUN)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_foreign_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / CHECKPOINT).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"checkpoint\.json is no checkpoint of a training"):
        load_checkpoint(tmp_path, RUN)


def test_a_future_format_is_an_error(tmp_path: Path) -> None:
    _saved(tmp_path)
    document = json.loads((tmp_path / CHECKPOINT).read_text())
    (tmp_path / CHECKPOINT).write_text(json.dumps({**document, "format": 3}))
    with pytest.raises(CheckpointError, match="has format 3, this version reads format 2"):
        load_checkpoint(tmp_path, RUN)


def test_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    _saved(tmp_path)
    raw = bytearray(_tensors_file(tmp_path).read_bytes())
    raw[-1] ^= 1
    _tensors_file(tmp_path).write_bytes(raw)
    with pytest.raises(CheckpointError, match=r"is damaged: sha256 .* expected"):
        load_checkpoint(tmp_path, RUN)


def test_missing_tensors_are_an_error(tmp_path: Path) -> None:
    _saved(tmp_path)
    _tensors_file(tmp_path).unlink()
    with pytest.raises(CheckpointError, match="is not there, though"):
        load_checkpoint(tmp_path, RUN)


def test_another_training_is_refused_by_what_differs(tmp_path: Path) -> None:
    _saved(tmp_path)
    with pytest.raises(CheckpointError, match=r"its recipe\.model\.dim is 8, this one's 16"):
        load_checkpoint(tmp_path, {"recipe": {"model": {"dim": 16}, "window": 50}, "seed": 1})
    with pytest.raises(CheckpointError, match="its seed is 1, this one's 2"):
        load_checkpoint(tmp_path, {**RUN, "seed": 2})
