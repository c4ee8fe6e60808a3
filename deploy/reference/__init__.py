"""The reference pages of docs/, made from the code: `make docs` writes them, a test compares them."""

from collections.abc import Mapping
from pathlib import Path

from deploy.reference.asyncapi import asyncapi_document
from deploy.reference.configuration import configuration_page
from deploy.reference.events import events_page
from deploy.reference.schemas import schema_documents


def documents(root: Path) -> Mapping[str, str]:
    """Return what each generated file should hold, by its path below `root`, the repository.

    docs/events.md is written by hand but for its marked parts, so its own text goes in again.
    """
    return {
        "docs/configuration.md": configuration_page(),
        "docs/events.md": events_page((root / "docs" / "events.md").read_text(encoding="utf-8")),
        "docs/asyncapi.json": asyncapi_document(),
        **{f"docs/schemas/{name}.json": text for name, text in schema_documents().items()},
    }
