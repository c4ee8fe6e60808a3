"""What every group of settings is made of."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _expand_user(value: Path) -> Path:
    return value.expanduser()


UserPath = Annotated[Path, AfterValidator(_expand_user)]


class Group(BaseModel):
    """Settings that belong together: frozen, and nothing unknown in them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
