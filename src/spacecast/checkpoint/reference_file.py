"""Reads Lightning checkpoints of the published reference implementation, without running or importing anything."""

import math
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spacecast.checkpoint.pickles import Name, Reader, Record, TensorRecipe, names
from spacecast.checkpoint.reference import DEFAULTS, TARGETS, map_data, map_hyper_parameters, map_loss, map_state_dict
from spacecast.core.errors import UserError

PACKAGE = "neural_lam"  # the reference's own
LARGEST_PICKLE = 2**28
DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


NAMESPACE = Name("argparse", "Namespace")
NUMPY = {Name(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")} | {
    Name("numpy", "dtype"),
    Name("_codecs", "encode"),  # how Python 2's pickles hold the bytes of a number
}


def _inert(name: Name) -> bool:
    """Classes whose objects are kept as records: the command line, the reference's configuration, numpy's numbers."""
    return name == NAMESPACE or name in NUMPY or name.module.split(".")[0] == PACKAGE


class Archive:
    """The zip file that `torch.save` writes: `NAME/data.pkl` and `NAME/data/KEY`, none of them compressed.

    Raises:
        UserError: when the file is missing or is something else.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise UserError(f"there is no checkpoint {path}")
        try:
            self.zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(f"{path} is no checkpoint of torch.save ({error}); download it again") from error
        self.entries = {entry.filename: entry for entry in self.zip.infolist()}
        pickles = [name for name in self.entries if name.split("/")[-1] == "data.pkl"]
        if len(self.entries) < len(self.zip.infolist()) or len(pickles) != 1 or pickles[0].count("/") != 1:
            raise UserError(f"{path} is no checkpoint of torch.save: expected one NAME/data.pkl and each file once")
        self.folder = pickles[0].split("/")[0]
        if f"{self.folder}/constants.pkl" in self.entries:
            raise UserError(f"{path} is a TorchScript program, not a checkpoint; it is not read")

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def read(self, name: str, limit: int) -> bytes:
        """Bytes of one file."""
        entry = self.entries.get(f"{self.folder}/{name}")
        if entry is None:
            raise UserError(f"{self.path} lacks {name}; download it again")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > limit:
            raise UserError(f"{self.path}: {name} is compressed or too large: torch.save does not write so")
        try:
            return self.zip.read(entry)
        except (zipfile.BadZipFile, RuntimeError, OSError, NotImplementedError, EOFError) as error:
            raise UserError(f"{self.path}: {name} is damaged ({error}); download it again") from error

    def pickle(self) -> bytes:
        """The pickle with everything but the numbers."""
        return self.read("data.pkl", LARGEST_PICKLE)

    def tensor(self, recipe: TensorRecipe) -> Tensor:
        """Read the numbers of one tensor."""
        kind, key, size = recipe.storage
        if kind not in DTYPES:
            raise UserError(f"{self.path} holds a tensor of {kind}, which is not read")
        if f"{self.folder}/byteorder" in self.entries and self.read("byteorder", 16) != b"little":
            raise UserError(f"{self.path} was written on a big-endian machine, which is not read")
        dtype = DTYPES[kind]
        data = bytearray(self.read(f"data/{key}", size * dtype.itemsize))
        last = sum((extent - 1) * step for extent, step in zip(recipe.shape, recipe.stride, strict=True))
        too_large = math.prod(recipe.shape) > size or (0 not in recipe.shape and recipe.offset + last >= size)
        if len(data) != size * dtype.itemsize or too_large:
            raise UserError(f"{self.path}: a tensor is larger than its data; download it again")
        if 0 in recipe.shape:
            return torch.zeros(recipe.shape, dtype=dtype)
        flat = torch.frombuffer(data, dtype=dtype)
        return flat.as_strided(recipe.shape, recipe.stride, recipe.offset).clone()


def is_reference_checkpoint(path: str | Path) -> bool:
    """Whether a file is a checkpoint of the reference, by the classes that it names; nothing is executed."""
    try:
        with Archive(Path(path)) as archive:
            found = names(archive.pickle())
    except UserError:
        return False
    return any(name.module.split(".")[0] == PACKAGE or name == NAMESPACE for name in found)


def read_reference_checkpoint(path: str | Path) -> dict[str, Any]:
    """Model, hyper-parameters and parameters of a checkpoint of the reference.

    Returns:
        model: `graphcast`, `graph_fm` or `graph_efm`.
        target: dotted path of our class.
        hyper_parameters: keywords of its constructor besides the data's facts and the graph.
        state_dict: its parameters, under our names.
        variable_weights: loss weights by variable name; empty when all are alike.
        loss: what it was trained to minimise, a section of our configuration.
        datastore: keywords of our datastore that it was trained with.
        graph: name of its graph.
        arguments: the reference's command line, plain types.
        epochs: how many it was trained for, None when that is not said.

    Raises:
        UserError: when the file is damaged, holds anything that would have to be executed, or is of an unknown model.

    """
    with Archive(Path(path)) as archive:
        content = Reader(_inert).read(archive.pickle())
        arguments, config = _hyper_parameters(content, path)
        recipes = content.get("state_dict")
        if not isinstance(recipes, dict):
            raise UserError(f"{path} holds no parameters; give a checkpoint of the reference's training")
        tensors = {name: recipe for name, recipe in recipes.items() if isinstance(recipe, TensorRecipe)}
        state_dict = {name: archive.tensor(recipe) for name, recipe in tensors.items()}
    clamping = _attributes(config, "training", "output_clamping")
    limits = {side: _numbers(clamping.get(side), path) for side in ("lower", "upper")}
    weights = _numbers(_attributes(config, "training", "state_feature_weighting").get("weights"), path)
    try:
        model, keywords = map_hyper_parameters(
            arguments, num_states=_num_states(state_dict, arguments), weights=weights, **limits
        )
        loss, datastore = map_loss(arguments, weights), map_data(arguments)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UserError) else UserError(f"{path}: {error}") from error
    epoch = content.get("epoch")
    return {
        "model": model,
        "target": TARGETS[model],
        "hyper_parameters": keywords,
        "state_dict": map_state_dict(model, state_dict),
        "variable_weights": weights,
        "loss": loss,
        "datastore": datastore,
        "graph": str(arguments.get("graph", DEFAULTS["graph"])),
        "arguments": arguments,
        "epochs": epoch + 1 if isinstance(epoch, int) else None,
    }


def _hyper_parameters(content: Any, path: str | Path) -> tuple[dict[str, Any], Record | None]:
    """Command line and configuration."""
    saved = content.get("hyper_parameters") if isinstance(content, dict) else None
    arguments = saved.get("args") if isinstance(saved, dict) else None
    if not isinstance(saved, dict) or not isinstance(arguments, Record):
        raise UserError(f"{path} holds no hyper-parameters of the reference (hyper_parameters.args)")
    config = saved.get("config")
    return arguments.attributes, config if isinstance(config, Record) else None


def _num_states(state_dict: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> int:
    """State variables: the numbers that the last layer gives, or half of them."""
    last = [name for name in state_dict if re.fullmatch(r"(decoder\.param_map|output_map)\.\d+\.bias", name)]
    if not last:
        raise UserError("the checkpoint lacks the output layer of every model that is read here")
    return state_dict[last[-1]].shape[0] // (2 if arguments.get("output_std") else 1)


def _attributes(record: Record | None, *path: str) -> Mapping[str, Any]:
    """Attributes of a record some levels down; empty where there is none."""
    for name in path:
        below = record.attributes.get(name) if record is not None else None
        record = below if isinstance(below, Record) else None
    return record.attributes if record is not None else {}


def _numbers(values: Any, path: str | Path) -> dict[str, float]:
    """A mapping of names to numbers."""
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(value, (int, float)) for value in values.values()):
        raise UserError(f"{path} holds limits or weights that are no numbers")
    return {str(name): float(value) for name, value in values.items()}

