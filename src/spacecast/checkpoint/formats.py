"""What checkpoints of earlier formats leave unsaid."""

from collections.abc import Mapping
from typing import Any

from spacecast.config.targets import current_name

FORMAT = 2
"""Of the checkpoints that are written. Raise it when a constructor that a configuration names gets another default."""

NETWORK = {"hidden_dim": 64, "processor_layers": 4, "inputs": "states", "lower": None}
FORMER_DEFAULTS: dict[str, dict[str, Any]] = {
    "spacecast.models.encode_process_decode.EncodeProcessDecode": NETWORK,
    "spacecast.models.graph_efm.GraphEFM": {**NETWORK, "latent_dim": None, "prior": "learned"},
    "spacecast.graphs.builders.MeshGraphBuilder": {"mesh_to_grid_nearest": 4},
    "spacecast.objectives.elbo.ElboObjective": {"crps_weight": 0.0},
    "spacecast.training.schedule.ConstantSchedule": {"decay": "constant"},
    "spacecast.training.schedule.GraphFMSchedule": {
        "switches": [0.7, 0.9],
        "rollout_steps": 4,
        "rollout_lr_factor": 0.1,
        "decay": "constant",
    },
}
"""Defaults of constructors in format 1, where they are others today."""


def former_defaults(target: str, written: int) -> dict[str, Any]:
    """Defaults that a constructor had when a checkpoint of a format was written, where they are others today."""
    return FORMER_DEFAULTS.get(current_name(target), {}) if written < FORMAT else {}


def with_former_defaults(config: Mapping[str, Any], written: int) -> dict[str, Any]:
    """A stored configuration with what it left to the constructors of its time.

    Args:
        config: of the checkpoint; its members may leave keys out, mostly those of one's own.
        written: format of the checkpoint.

    """
    sections = {name: section for name, section in config.items() if isinstance(section, Mapping)}
    former = {name: former_defaults(str(section.get("_target_")), written) for name, section in sections.items()}
    return {**config, **{name: {**former[name], **section} for name, section in sections.items()}}
