"""What a bundle says of itself: `manifest.json`."""

import hashlib
from typing import Any

import msgspec

from serving.errors import BundleError

# A reader refuses a format that it does not know: an older one too, so that each format has one meaning.
BUNDLE_FORMAT = 1
MANIFEST = "manifest.json"


class EncoderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the exported encoder is and how it is called.

    `form` "step": one event a call, the state carried (`serving.encoders.recurrent`). `window` is the number of
    events that it reads at most; widths are numbers of float32.
    """

    kind: str
    form: str
    input_dim: int
    dim: int
    state_size: int
    window: int


class IndexSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the index was built, and the share of the exact top 10 that it finds, asked with item vectors."""

    factory: str
    metric: str
    recall_at_10: float


class FileSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of the bundle."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bundle's self-description. It holds no clock: the same training gives the same bytes."""

    format: int
    encoder: EncoderSpec
    index: IndexSpec
    item_count: int
    recipe: dict[str, Any]
    seed: int
    code_revision: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, FileSpec]


class _Format(msgspec.Struct):
    format: int


def encode_manifest(manifest: Manifest) -> bytes:
    """Write the manifest: JSON with sorted keys, for people too."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def decode_manifest(raw: bytes, where: str) -> Manifest:
    """Read a manifest.

    Raises:
        BundleError: it is no manifest, or of another format.

    """
    try:
        found = msgspec.json.decode(raw, type=_Format).format
    except msgspec.MsgspecError as error:
        raise BundleError(
            f"{where} is no manifest of a bundle ({error}); name a directory made by `nextclick train`"
        ) from error
    if found != BUNDLE_FORMAT:
        raise BundleError(
            f"{where} says bundle format {found}, this version reads format {BUNDLE_FORMAT}: "
            + ("run a newer nextclick" if found > BUNDLE_FORMAT else "train the bundle again")
        )
    try:
        return msgspec.json.decode(raw, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError(f"{where} is damaged or foreign ({error}); copy or train the bundle again") from error


def bundle_id(raw: bytes) -> str:
    """Return the bundle's id: the first 16 hex digits of its manifest's sha256."""
    return hashlib.sha256(raw).hexdigest()[:16]
