"""Scores that travel: `scores.nc` without the places of the machine that computed them."""

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import xarray as xr

from spacecast.core.errors import UserError
from spacecast.core.text import first_line


def portable_scores(path: Path, model: str) -> bytes:
    """A copy of a `scores.nc` that names the model instead of the file of its checkpoint.

    Args:
        path: of the file.
        model: what the model is called.

    Raises:
        UserError: it cannot be read.

    """
    try:
        found = xr.load_dataset(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}); evaluate that checkpoint again") from error
    found.attrs = {**_placeless(found.attrs), "checkpoint": model}
    for variable in found.variables.values():
        variable.attrs = _placeless(variable.attrs)
    with tempfile.TemporaryDirectory(prefix="spacecast-") as folder:
        copy = Path(folder, path.name)
        found.to_netcdf(copy)
        return copy.read_bytes()


def _placeless(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Attributes with only the last part of each path."""

    def name(value: Any) -> Any:
        return PurePath(value).name if isinstance(value, str) and value.startswith(("/", "~")) else value

    return {key: name(value) for key, value in attributes.items()}
