"""A trained model as a folder for others: weights and facts as safetensors, text beside them, nothing that is pickled.

`config.json` says what the model is, `model.safetensors` holds its weights, `data.safetensors` grid and statistics,
`graph/` a graph that was read from files, in the published layout. `SHA256SUMS` lists them all.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spacecast.config.portable import reads_graph, settled
from spacecast.config.trust import plain_sections
from spacecast.core.errors import UserError
from spacecast.core.spec import DataSpec
from spacecast.core.text import first_line, shown
from spacecast.process.files import atomic_write, sync_file

WEIGHTS, DATA, CONFIG, GRAPH = "model.safetensors", "data.safetensors", "config.json", "graph"
SUMS, CARD = "SHA256SUMS", "README.md"
NEEDED = (CONFIG, DATA, WEIGHTS)
CATEGORIES = ("state", "static", "forcing")
RANGES = ("lower", "upper")  # which a `DataSpec` may lack
LARGEST = 4_000_000  # bytes of text; no real file comes near
AGAIN = "download or export it again"


def write_exported(
    folder: Path, weights: Mapping[str, Tensor], described: Mapping[str, Any], files: Mapping[str, bytes | Path]
) -> Path:
    """Write a model; the folder appears whole or not at all.

    Args:
        folder: where to; what is there is replaced.
        weights: of the step model.
        described: entry `spacecast` of the checkpoint, its configuration by `config.portable`.
        files: further ones by their names, as bytes or as a file to copy.

    Raises:
        UserError: its configuration cannot be written as JSON.
        OSError: it cannot be written there.

    """
    from safetensors.torch import save

    spec = DataSpec.from_dict(described["data_spec"])
    facts = {name: value for name, value in described.items() if name not in ("data_spec", "parent")}
    text = json.dumps({**facts, "data": _plain(spec)}, indent=1) + "\n"
    if json.loads(text)["config"] != described["config"]:
        raise UserError("the configuration of this model has keys that are no text, which JSON does not know")
    content: dict[str, bytes | Path] = {
        CONFIG: text.encode(),
        DATA: save(_arrays(spec)),
        WEIGHTS: save({name: value.detach().clone().contiguous() for name, value in weights.items()}),
        **files,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder) as partial:
        sums = {}
        for name, data in content.items():
            path = partial / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.read_bytes())
            sync_file(path)
            sums[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        lines = (f"{digest}  {name}\n" for name, digest in sums.items() if name != CARD)  # which people edit
        (partial / SUMS).write_text("".join(lines))
    return folder


def replaceable(folder: Path) -> bool:
    """Whether a folder holds an exported model and nothing else, so that nothing is lost with it."""
    known = {*NEEDED, SUMS, CARD, GRAPH, "scores.csv", "scores.nc"}
    return (folder / SUMS).is_file() and {path.name for path in folder.iterdir()} <= known


def read_exported(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write_exported` wrote, every byte held against its check sum, nothing executed.

    Returns:
        The weights of the step model, and the entry `spacecast` of a checkpoint.

    Raises:
        UserError: a file is missing, damaged or not what was written.

    """
    content = dict(_checked(folder))
    source = f"{folder}/{CONFIG}"
    try:
        described = json.loads(content[CONFIG])
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source} is no JSON ({first_line(error)}); {AGAIN}") from error
    if not isinstance(described, dict) or not isinstance(described.get("versions"), dict):
        raise UserError(f"{source} describes no model of spacecast; give a folder that spacecast-data export wrote")
    plain = described.pop("data", None)
    config = plain_sections(described.get("config"), source)
    _check_graph(described.get("graph"), source)
    if reads_graph(config) and not (folder / GRAPH).is_dir():
        raise UserError(f"{folder} has no folder {GRAPH}, in which its mesh graph should be; {AGAIN}")
    described |= {
        "config": settled(config, folder, source),
        "data_spec": _spec_entry(plain, _tensors(content[DATA], folder / DATA), f"{folder}/{DATA}"),
        "parent": None,
    }
    return _tensors(content[WEIGHTS], folder / WEIGHTS), described


def _checked(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that the model is made of, as its check sum says."""
    graph = sorted(path.relative_to(folder).as_posix() for path in (folder / GRAPH).glob("*.pt"))
    sums = _sums(folder)
    for name in (*NEEDED, *graph):
        path = folder / name
        if not path.is_file():
            raise UserError(f"{folder} has no {name}; {AGAIN}")
        if name == CONFIG and path.stat().st_size > LARGEST:
            raise UserError(f"{path} has {path.stat().st_size} bytes, more than any configuration; refused")
        data = path.read_bytes()
        if name not in sums:
            raise UserError(f"{folder}/{SUMS} does not list {shown(name)}; {AGAIN}")
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise UserError(f"{path} is damaged: its check sum is not the one in {SUMS}; {AGAIN}")
        yield name, b"" if name in graph else data


def _sums(folder: Path) -> dict[str, str]:
    """Check sums by name, as `sha256sum` writes them."""
    path = folder / SUMS
    if not path.is_file():
        raise UserError(f"{folder} has no {SUMS}; {AGAIN}")
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path} has {path.stat().st_size} bytes, more than any list of check sums; refused")
    lines = (line.split(maxsplit=1) for line in path.read_text(errors="replace").splitlines())
    return {line[1]: line[0] for line in lines if len(line) == 2}


def _tensors(data: bytes, path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found: dict[str, Tensor] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({first_line(error)}); {AGAIN}") from error
    return found


def _plain(spec: DataSpec) -> dict[str, Any]:
    """What a `DataSpec` holds besides arrays."""
    categories = {name: getattr(spec, name) for name in CATEGORIES}
    return {
        "axes": list(spec.grid.axes),
        **{name: {"names": list(one.names), "units": list(one.units)} for name, one in categories.items()},
        "step_seconds": float(spec.step_seconds),
        "data_hash": spec.data_hash,
    }


def _arrays(spec: DataSpec) -> dict[str, Tensor]:
    """The arrays of a `DataSpec`, by the names of its entries with dots."""
    entries = spec.to_dict()
    found = {name: entries[name] for name in ("diff_mean", "diff_std", "static_values", "boundary")}
    found |= {name: entries[name] for name in RANGES if name in entries}
    found |= {f"grid.{name}": value for name, value in entries["grid"].items()}
    found |= {f"{name}.{part}": entries[name][part] for name in CATEGORIES for part in ("mean", "std")}
    return {name: torch.as_tensor(np.ascontiguousarray(value)) for name, value in found.items()}


def _spec_entry(plain: Any, arrays: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The entry `data_spec` of a checkpoint, once it has made a `DataSpec`.

    Raises:
        UserError: arrays are missing, or have other shapes or types than names and grid say.

    """
    try:
        grid = {name: arrays[f"grid.{name}"] for name in (*plain["axes"], "valid")}
        found: dict[str, Any] = {
            "grid": grid,
            **{name: arrays[name] for name in ("diff_mean", "diff_std", "static_values", "boundary")},
            **{
                name: {
                    "names": list(map(str, plain[name]["names"])),
                    "units": list(map(str, plain[name]["units"])),
                    **{part: arrays[f"{name}.{part}"] for part in ("mean", "std")},
                }
                for name in CATEGORIES
            },
            "step_seconds": float(plain["step_seconds"]),
            "data_hash": str(plain["data_hash"]),
            **{name: arrays[name] for name in RANGES if name in arrays},
        }
        spec = DataSpec.from_dict(found)
        cells, states = spec.num_nodes, len(spec.state)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = str(error) if isinstance(error, UserError) else f"{first_line(error)}"
        raise UserError(f"{source} and {CONFIG} describe no data ({reason}); {AGAIN}") from error
    shapes = {"diff_mean": (states,), "diff_std": (states,), "static_values": (cells, len(spec.static))}
    ranges = {name: (cells, states) for name in RANGES if name in arrays}
    for name, shape in {**shapes, **ranges, "boundary": (cells,)}.items():
        if tuple(arrays[name].shape) != shape:
            raise UserError(f"{source}: {name} has the shape {tuple(arrays[name].shape)}, expected {shape}; {AGAIN}")
    wrong = [name for name, value in arrays.items() if (value.dtype == torch.bool) != _is_mask(name)]
    wrong += [name for name, value in arrays.items() if not _is_mask(name) and not bool(value.isfinite().all())]
    wrong += [f"units of {name}" for name in CATEGORIES if len(found[name]["units"]) != len(found[name]["names"])]
    wrong += [name for name, value in arrays.items() if name.endswith("std") and bool((value < 0).any())]
    wrong += ["state.std"] * bool((arrays["state.std"] == 0).any())
    wrong += [f"names of {name}" for name in CATEGORIES if len(set(found[name]["names"])) != len(found[name]["names"])]
    if wrong or not 0 < spec.step_seconds < float("inf"):
        what = shown(wrong[0]) if wrong else "step_seconds"
        raise UserError(f"{source}: {what} holds something else than it should; {AGAIN}")
    return found


def _is_mask(name: str) -> bool:
    """Whether an array says yes or no."""
    return name in ("grid.valid", "boundary")


def _check_graph(graph: Any, source: str) -> None:
    """Hold the entry `graph` against what a checkpoint has there."""
    if not isinstance(graph, dict) or not isinstance(graph.get("hash"), str):
        raise UserError(f"{source} does not say which mesh graph the model has; {AGAIN}")
