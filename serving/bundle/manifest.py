"""What a bundle says of itself: `manifest.json`."""

import hashlib
from typing import Any, Literal

import msgspec

from serving.bounds import Count, Finite, Positive, Size, Window, fault
from serving.encoders import TimeOf
from serving.errors import BundleError

# A reader refuses a format that it does not know: an older one too, so that each format has one meaning.
BUNDLE_FORMAT = 2
MANIFEST = "manifest.json"


class EncoderSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the exported encoder is and how it is called.

    `form` "step": one event a call, the state carried (`serving.encoders.recurrent`); "window": the last events anew at
    each click (`serving.encoders.window`). `window` is the number of events that it reads at most; widths are numbers
    of float32. `scale` times the inner product of a session vector and an item vector is the item's logit.

    What it reads of an event beside its item: the type, if it is one of `event_types`, where there are any; with
    `silences`, the silence before it; and `time_of` says whether, and from which moment on, it looks at the events'
    ages.
    """

    kind: str
    form: Literal["step", "window"]
    input_dim: Count
    dim: Count
    state_size: Size
    window: Window
    scale: Positive = 1.0
    event_types: list[str] = msgspec.field(default_factory=list)
    silences: bool = False
    time_of: TimeOf = "none"

    def __post_init__(self) -> None:
        if self.form == "step" and (self.window < 2 or self.state_size < 1):
            raise ValueError(
                f"window {self.window} and state_size {self.state_size}: an encoder in its step form reads 2 events or "
                "more and carries a state of 1 number or more"
            )

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"encoder.{self.form}.onnx"

    @property
    def needs(self) -> list[str]:
        """What it must be told at query time beside the session: nothing, for encoders that a worker can run."""
        return ["query_time"] if self.time_of == "query" else []


class CounterSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A counting model: its kind and its parameters (`serving.counters`)."""

    kind: str
    parameters: dict[str, Any]


class BlendSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the sides of a blend are added up (`serving.retrieval`): their weights, and each counter's floor.

    `candidates` is the number of best items of each side that are compared.
    """

    encoder: Finite
    counters: list[Finite]
    floors: list[Positive]
    candidates: Count


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
    """The bundle's self-description. It holds no clock: the same training gives the same bytes.

    `needs` is what a list cannot be made without beside the session; a worker refuses a bundle that needs anything.
    A bundle has an encoder with its index, or counters, or both, and a `blend` unless the encoder is alone.
    """

    format: int
    needs: list[str]
    encoder: EncoderSpec | None
    index: IndexSpec | None
    counters: list[CounterSpec]
    blend: BlendSpec | None
    item_count: Count
    recipe: dict[str, Any]
    seed: int
    code_revision: str
    data: dict[str, Any]
    metrics: dict[str, Any]
    files: dict[str, FileSpec]

    @property
    def session_encoder(self) -> EncoderSpec:
        """The encoder, of a bundle that is known to have one."""
        if self.encoder is None:
            raise BundleError(f"a bundle of {self.model} has no encoder")
        return self.encoder

    @property
    def model(self) -> str:
        """What makes the lists, in a word: the kinds of encoder and counters."""
        kinds = [] if self.encoder is None else [self.encoder.kind]
        return "+".join([*kinds, *(counter.kind for counter in self.counters)])


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
        document = msgspec.json.decode(raw)
        found = msgspec.convert(document, _Format).format
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"{where} is no manifest of a bundle ({error}); name a directory made by `nextclick train`"
        ) from error
    if found != BUNDLE_FORMAT:
        raise BundleError(
            f"{where} says bundle format {found}, this version reads format {BUNDLE_FORMAT}: "
            + ("run a newer nextclick" if found > BUNDLE_FORMAT else "train the bundle again")
        )
    try:
        return msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{where} is damaged or foreign ({fault(error, document)}); copy or train the bundle again"
        ) from error


def bundle_id(raw: bytes) -> str:
    """Return the bundle's id: the first 16 hex digits of its manifest's sha256."""
    return hashlib.sha256(raw).hexdigest()[:16]
