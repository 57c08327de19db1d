"""What the commands that use a trained model have in common: the model, its data, the processes for the work."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.auto import with_choices
from spacecast.app.registered import local_checkpoint
from spacecast.app.run_records import first_difference
from spacecast.config.command import Command, Inputs, Opened, Plain
from spacecast.config.schema import Evaluate, Forecast
from spacecast.config.stored import merged, stored_config
from spacecast.config.targets import current_name
from spacecast.config.trust import Trust, check_simulation
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys

if TYPE_CHECKING:
    from torch import nn

    from spacecast.core.graph import MeshGraph
    from spacecast.core.spec import DataSpec
    from spacecast.forecast.processes import Processes


def completed(composed: Plain, words: Sequence[str], opened: Opened, used: Sequence[str]) -> Plain:
    """The configuration in the checkpoint, overridden by what was typed.

    Args:
        composed: from the defaults and what was typed.
        words: the overrides.
        opened: receives the content of the checkpoint.
        used: sections of the configuration in the checkpoint that will be called.

    Raises:
        UserError: the checkpoint is none, or would call or write what its user has not allowed.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint

    trust = Trust.of(composed)
    file = find_checkpoint(local_checkpoint(composed["checkpoint"], "checkpoint", composed)).absolute()
    opened[file] = load_checkpoint(file)
    source, keys = f"checkpoint {file}", typed_keys(words)
    stored = stored_config(opened[file], source)
    result = merged(composed, stored, words, source) | {"checkpoint": str(file)}
    model, before = (dict(each.get("model") or {}) for each in (result, stored))
    if model.get("_target_") == current_name(str(before.get("_target_"))):
        result["model"] = with_choices(model, before)
    trust.check({name: result.get(name) for name in used}, source)
    if "simulation" not in keys:
        check_simulation(result, keys, source)
    return result


def shared(inputs: Inputs[Any], command: Command) -> AbstractContextManager["Processes"]:
    """The processes that the section `trainer` of a command asks for; each of them does the task of the command.

    Args:
        inputs: of the command, the same in all processes.
        command: which one.

    Raises:
        UserError: the machine does not have what is asked for.

    """
    from spacecast.forecast.processes import started

    trainer, work = inputs.config.trainer, "spacecast.config.run:run_part"
    asked = trainer.accelerator, trainer.devices, trainer.num_nodes
    return started(*asked, work=work, arguments=[command.path, inputs.plain])


def trained_parts(config: Evaluate | Forecast, checkpoint: Plain, spec: "DataSpec") -> "tuple[MeshGraph, nn.Module]":
    """The graph and the model with its weights.

    Args:
        config: of the command.
        checkpoint: from `load_checkpoint`.
        spec: what the model was trained on.

    Raises:
        UserError: the weights belong to another model, or to other variables.

    """
    from spacecast.app.assemble import build_model, open_graph
    from spacecast.checkpoint.content import load_weights, model_weights, warn_of_another_graph

    graph = open_graph(config.graph, spec.grid, config.paths.data_dir)
    warn_of_another_graph(checkpoint["spacecast"], graph)
    model = build_model(config.model, config.seed, spec, graph)
    load_weights(model, model_weights(checkpoint), str(config.checkpoint))
    return graph, model


def check_same_data(config: Evaluate | Forecast, facts: Plain, data_hash: str) -> None:
    """With `same_data`, refuse data of another hash than those of the training, as its checkpoint tells them.

    Raises:
        UserError: they are others.

    """
    from spacecast.storage.fingerprint import same_kind

    before = str((facts.get("data_spec") or {}).get("data_hash") or "")
    if config.same_data and same_kind(before, data_hash) and before != data_hash:
        root = config.datastore.root
        raise UserError(
            f"the data in {root} are not those of the training, which are no longer where they were: give "
            f"datastore.root=DIR where they are, or datastore.root={root} to use these all the same"
        )


def check_data_place(inputs: Inputs[Any], checkpoint: Plain) -> None:
    """Hold the data against where the training had them.

    Args:
        inputs: of the command.
        checkpoint: from `load_checkpoint`.

    Raises:
        UserError: the data of a training would be simulated anew in another place, where a run folder was copied
            without them.

    """
    from spacecast.data.configs import find_raw_runs, find_runs

    stored = stored_config(checkpoint, "checkpoint")
    now, before = inputs.plain.get("simulation"), stored.get("simulation")
    if not now or not before or now.get("root") == before.get("root") or first_difference(before, now, ["root"]):
        return  # they are made where they were, or others are asked for
    root = Path(str(now.get("root")))
    if not find_runs(root) and not find_raw_runs(root):
        made = Path(str(before.get("root")))
        exported = made.is_relative_to(inputs.config.checkpoint.parent)  # which does not say where they were
        where = f"not in {root}" if exported else f"neither in {made}, where they were made, nor in {root}"
        raise UserError(
            f"the data of this training are {where}; give datastore.root=DIR, the folder with its runs, or "
            "paths.data_dir=DIR, the folder above"
        )
