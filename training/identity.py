"""Which training something belongs to: what decides the weights of an encoder."""

from collections.abc import Mapping
from typing import Any

import msgspec

from serving.bundle.manifest import Manifest

# What may differ where a training goes on: it decides no weight of the encoder.
_INDECISIVE = frozenset({"index", "counters", "blend"})


def identity(
    parameters: Mapping[str, Any],
    *,
    seed: int,
    clicks: str,
    validation: str | None,
    chosen_by: str | None,
    started_from: str | None,
) -> dict[str, Any]:
    """Return what decides the weights: a training that stands may end in another index or another blend.

    Args:
        parameters: the recipe's.
        seed: the run's.
        clicks: fingerprint of the training clicks.
        validation: fingerprint of the validation part, by which the best epoch is chosen; None for a refit.
        chosen_by: id of the bundle that a refit follows.
        started_from: id of the bundle whose weights it starts from.

    """
    decisive = {key: value for key, value in parameters.items() if key not in _INDECISIVE}
    return {
        "recipe": decisive,
        "seed": seed,
        "clicks": clicks,
        "validation": validation,
        "chosen_by": chosen_by,
        "started_from": started_from,
    }


def identity_of(manifest: Manifest) -> dict[str, Any]:
    """Return the identity of the training that made a bundle."""
    return identity(
        manifest.recipe,
        seed=manifest.seed,
        clicks=manifest.data["fingerprint"],
        validation=manifest.data.get("validation_fingerprint"),
        chosen_by=manifest.metrics.get("chosen_by", {}).get("bundle"),
        started_from=manifest.metrics.get("started_from", {}).get("bundle"),
    )


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Return the first leaf in which two JSON-able trees differ, as "its KEY is A, this one's B", or None."""
    old, new = _flat(there), _flat(msgspec.json.decode(msgspec.json.encode(dict(here))))
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            return f"its {key} is {old.get(key)!r}, this one's {new.get(key)!r}"
    return None


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return leaves
