"""Loading a bundle: every byte is checked before any parser sees it, then the golden sessions are played."""

import hashlib
from pathlib import Path

import msgspec

from serving.bundle.contents import Bundle
from serving.bundle.golden import GOLDEN, GoldenSession, check_golden
from serving.bundle.manifest import MANIFEST, FileSpec, Manifest, bundle_id, decode_manifest
from serving.bundle.parts import files_of, parsing, put_together
from serving.errors import BundleError


def load_bundle(directory: Path) -> Bundle:
    """Load a bundle: verify every file against the manifest, put the parts together, play the golden sessions.

    What is parsed are the very bytes that were verified, not what the files hold a moment later.

    Raises:
        BundleError: which file, what was found, what was expected, and what to do.

    """
    manifest, raw = read_manifest(directory)
    files = _verified(directory, manifest)
    bundle = put_together(directory, manifest, bundle_id(raw), files)
    with parsing(directory / GOLDEN):
        golden = msgspec.json.decode(files[GOLDEN], type=list[GoldenSession])
    check_golden(bundle, golden)
    return bundle


def read_manifest(directory: Path) -> tuple[Manifest, bytes]:
    """Return the manifest and its bytes, whose hash is the bundle's id; the other files are not looked at."""
    raw = _read(directory / MANIFEST)
    return decode_manifest(raw, str(directory / MANIFEST)), raw


def _verified(directory: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the files' contents, each checked against the manifest."""
    files = files_of(manifest) | {GOLDEN}
    if missing := files - manifest.files.keys():
        raise BundleError(f"{directory / MANIFEST} names no {', '.join(sorted(missing))}; train the bundle again")
    if foreign := manifest.files.keys() - files:
        raise BundleError(
            f"{directory / MANIFEST} names files that no bundle has: {', '.join(sorted(foreign))}; "
            "it was not written by this version of nextclick"
        )
    return {name: _read_verified(directory / name, spec) for name, spec in sorted(manifest.files.items())}


def _read_verified(path: Path, spec: FileSpec) -> bytes:
    raw = _read(path)
    if len(raw) != spec.bytes:
        raise BundleError(f"{path} has {len(raw)} bytes, the manifest says {spec.bytes}; copy the bundle again")
    found = hashlib.sha256(raw).hexdigest()
    if found != spec.sha256:
        raise BundleError(
            f"{path} is damaged: sha256 {found[:16]}..., the manifest says {spec.sha256[:16]}...; copy the bundle again"
        )
    return raw


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BundleError(
            f"{path} is not there; a bundle is a directory made by `nextclick train`, with {MANIFEST} in it"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error
