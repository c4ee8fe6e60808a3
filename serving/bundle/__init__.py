"""The bundle: the one thing that passes from training to the stream. A directory, addressed by its manifest's hash."""

from serving.bundle.contents import Bundle, BundleContents, GoldenEvents
from serving.bundle.manifest import BlendSpec, CounterSpec, EncoderSpec, IndexSpec, Manifest
from serving.bundle.read import load_bundle
from serving.bundle.write import write_bundle

__all__ = [
    "BlendSpec",
    "Bundle",
    "BundleContents",
    "CounterSpec",
    "EncoderSpec",
    "GoldenEvents",
    "IndexSpec",
    "Manifest",
    "load_bundle",
    "write_bundle",
]
