"""A run folder as a training leaves it, without the training."""

from collections.abc import Sequence
from pathlib import Path

import torch

from spacecast.app.assemble import build_model, open_graph, open_prepared
from spacecast.app.auto import settled
from spacecast.app.train import COMMAND
from spacecast.checkpoint.content import describe
from spacecast.checkpoint.files import write_whole
from spacecast.config.command import Inputs
from spacecast.config.complete import checked
from spacecast.config.compose import compose, conf_dir
from spacecast.config.schema import Train, typed


def write_untrained(run_dir: Path, words: Sequence[str]) -> None:
    """Write the best checkpoint of a model with random weights.

    Args:
        run_dir: of the run.
        words: as typed for spacecast-train; the data are there.

    """
    plain = checked(COMMAND, compose("train", [*words, f"paths.run_dir={run_dir}"], conf_dir()), {})
    datastore = open_prepared(typed(plain, Train).datastore)
    inputs, spec = settled(Inputs.of(plain, Train), datastore), datastore.spec
    config, plain = inputs.config, inputs.plain
    graph = open_graph(config.graph, spec.grid, config.paths.data_dir)
    model = build_model(config.model, config.seed, spec, graph)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape), alpha=0.02)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    write_whole(
        {"state_dict": weights, "spacecast": describe(plain, spec, graph)}, run_dir / "checkpoints" / "best.ckpt"
    )
