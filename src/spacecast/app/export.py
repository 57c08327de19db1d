"""`spacecast-data export`: a trained model becomes a folder for others, with a card that says what it is."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spacecast.app.registered import local_checkpoint
from spacecast.app.run_records import recorded_config
from spacecast.config.command import Inputs, Opened, Plain
from spacecast.config.paths import absolute_path
from spacecast.config.portable import STORED_GRAPH, portable, reads_graph
from spacecast.config.schema import Data
from spacecast.config.stored import anchored, relocated, stored_config
from spacecast.core.errors import UserError
from spacecast.core.names import typed_keys
from spacecast.core.text import as_typed
from spacecast.process.run_folder import read_facts

if TYPE_CHECKING:
    from spacecast.evaluation.scores import Scores

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
LICENCE = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
FOLDER = "models"  # below the project
GRAPH = "graph"


def export(inputs: Inputs[Data]) -> None:
    """Write a model as a folder.

    Args:
        inputs: configuration of `data.yaml`, completed by `complete_export`.

    Raises:
        UserError: the graph is not the one of the training, or nothing can be written there.

    """
    from spacecast.app.model_card import Facts, model_card
    from spacecast.checkpoint.content import model_weights
    from spacecast.checkpoint.exported import CARD, write_exported
    from spacecast.core.spec import DataSpec
    from spacecast.evaluation.portable_scores import portable_scores

    config, source, target = inputs.config, inputs.config.checkpoint, inputs.config.output
    assert source is not None
    assert target is not None
    checkpoint = inputs.opened[source]
    stored = stored_config(checkpoint, f"checkpoint {source}")
    described = {**checkpoint["spacecast"], "config": portable(stored, GRAPH)}
    spec, weights = DataSpec.from_dict(described["data_spec"]), model_weights(checkpoint)
    files: dict[str, bytes | Path] = {}
    loss, scored = (stored.get(name) or {} for name in ("loss", "evaluation"))
    if reads_graph(stored):
        files |= _graph_files(inputs, spec, described["graph"])
    evaluation = config.scores if config.scores is not None else _scored_run(source)
    facts = Facts(
        name=str(config.name),
        config=described["config"],
        described=described,
        spec=spec,
        parameters=sum(weight.numel() for weight in weights.values()),
        ensemble="members" in loss or "kl_weight" in loss or scored.get("members", 1) > 1,
        licence=config.license,
        scores=None if evaluation is None else _scores(evaluation),
    )
    if evaluation is None:
        log.warning("there are no scores of %s: give scores=DIR, the folder of an evaluation of it", source)
    else:
        files["scores.csv"] = evaluation / "scores.csv"
        if (evaluation / "scores.nc").is_file():
            files["scores.nc"] = portable_scores(evaluation / "scores.nc", str(config.name))
    files[CARD] = model_card(facts).encode()
    try:
        write_exported(target, weights, described, files)
    except OSError as error:
        raise UserError(f"output={target}: cannot write there ({error.strerror}); choose another folder") from error
    log.info("model: %s", target)
    log.info("Read its README.md before you share it; then, with the client of Hugging Face:")
    log.info("  %s", as_typed("hf", "upload", f"OWNER/{config.name}", target))


def _graph_files(inputs: Inputs[Data], spec: Any, graph: Mapping[str, Any]) -> dict[str, bytes | Path]:
    """Files of the mesh graph of the training, by their names in the folder.

    Raises:
        UserError: they hold another graph.

    """
    from spacecast.app.assemble import open_graph

    section = inputs.config.graph
    assert section is not None
    found = open_graph(section, spec.grid, inputs.config.paths.data_dir)
    if found.content_hash != graph["hash"]:
        raise UserError(
            f"graph.path={section.content['path']} holds another mesh graph ({found.content_hash}) than the one of the "
            f"training ({graph['hash']}); give graph=stored graph.path=DIR"
        )
    return {f"{GRAPH}/{path.name}": path for path in section.build().files}


def _scored_run(source: Path) -> Path | None:
    """The run folder of a checkpoint, where its scores are of this checkpoint; None where there are none."""
    from spacecast.checkpoint.content import find_checkpoint

    run_dir = source.parent.parent
    if source.parent.name != "checkpoints" or not (run_dir / "scores.csv").is_file():
        return None
    trainer, scored = recorded_config(run_dir).get("trainer") or {}, read_facts(run_dir).get("scored") or {}
    ends = all(name in scored and scored[name] == trainer.get(name) for name in ("max_epochs", "max_steps"))
    return run_dir if ends and find_checkpoint(run_dir) == source else None


def _scores(folder: Path) -> "tuple[Scores, Mapping[str, Any]]":
    """Scores of a run folder, and the section `evaluation` that they are by."""
    from spacecast.evaluation.scores import Scores

    return Scores.read_csv(folder / "scores.csv"), recorded_config(folder).get("evaluation") or {}


def complete_export(composed: Plain, words: Sequence[str], opened: Opened) -> Plain:
    """The configuration of `spacecast-data export` with what the checkpoint implies.

    Raises:
        UserError: something is missing, or `output` is taken, or the checkpoint does not know its data.

    """
    from spacecast.checkpoint.content import find_checkpoint, load_checkpoint
    from spacecast.checkpoint.exported import replaceable

    _check_words(composed)
    source = find_checkpoint(local_checkpoint(composed["checkpoint"], "checkpoint", composed))
    output = composed["output"] or Path(composed["paths"]["project_dir"], FOLDER, composed["name"])
    target = Path(absolute_path(output, "output"))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        mine = target.is_dir() and replaceable(target)
        if not mine or not composed["overwrite"]:
            way = "give overwrite=true, or another folder" if mine else "give another folder"
            raise UserError(f"output={target} exists; {way}")
    opened[source] = load_checkpoint(source)
    stored = stored_config(opened[source], f"checkpoint {source}")
    if "reference" in stored:
        raise UserError(
            f"{source} is a checkpoint of the reference, which does not say what it was trained on: first "
            f"{as_typed('spacecast-data', 'import-checkpoint', f'checkpoint={source}')} output=FILE and so on"
        )
    completed = composed | {"checkpoint": str(source), "output": str(target), "graph": None}
    if reads_graph(stored):
        completed["graph"] = _stored_graph(composed, stored, words, source)
    elif "graph" in typed_keys(words):
        raise UserError("graph: the mesh graph of this model follows from its recipe; leave graph out")
    if composed["scores"] is not None:
        completed["scores"] = str(_evaluated(Path(absolute_path(composed["scores"], "scores")), source))
    return completed


def _check_words(composed: Plain) -> None:
    """What must be given, and how names look.

    Raises:
        UserError: it is not, or they do not.

    """
    for key, what in (("checkpoint", "a run folder or a checkpoint"), ("name", "how the model is to be called")):
        if not composed[key]:
            raise UserError(f"{key} has no value; give {key}=VALUE, {what}")
    if not NAME.fullmatch(str(composed["name"])):
        raise UserError(f"name={composed['name']}: give letters, digits, '-', '_' and '.', for example name=graph-fm")
    if composed["license"] is not None and not LICENCE.fullmatch(str(composed["license"])):
        raise UserError(f"license={composed['license']}: give an identifier of the hub, such as cc-by-4.0 or mit")


def _stored_graph(composed: Plain, stored: Plain, words: Sequence[str], source: Path) -> Plain:
    """The section `graph` by which the files of the mesh graph are found.

    Raises:
        UserError: they are not where they were, and no other place is typed.

    """
    section = composed.get("graph")
    if not section or "graph" not in typed_keys(words):
        keys = typed_keys(words)
        section = relocated(anchored(stored, keys, f"checkpoint {source}"), composed["paths"], keys)["graph"]
    if not reads_graph({"graph": section}) or not Path(str(section.get("path"))).is_dir():
        raise UserError(
            f"the mesh graph of this model was read from files, which are not in {section.get('path')}: give "
            "graph=stored graph.path=DIR"
        )
    return {"_target_": STORED_GRAPH, "path": str(section["path"])}


def _evaluated(folder: Path, source: Path) -> Path:
    """The folder of an evaluation of a checkpoint.

    Raises:
        UserError: it holds none, or one of another checkpoint.

    """
    if not (folder / "scores.csv").is_file():
        raise UserError(f"scores={folder} holds no scores.csv; give the folder of an evaluation of this checkpoint")
    scored = recorded_config(folder).get("checkpoint")
    if scored is not None and Path(str(scored)).resolve() == source.resolve():
        return folder
    what = "of a training" if scored is None else f"of {scored}"
    raise UserError(f"scores={folder} holds scores {what}; give the folder of an evaluation of {source}")
