"""The published reference implementation: its hyper-parameters and parameter names in terms of ours."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spacecast.core.errors import UserError, nearest

ENCODE_PROCESS_DECODE = "spacecast.models.encode_process_decode.EncodeProcessDecode"
GRAPH_EFM = "spacecast.models.graph_efm.GraphEFM"
TARGETS = {"graphcast": ENCODE_PROCESS_DECODE, "graph_fm": ENCODE_PROCESS_DECODE, "graph_efm": GRAPH_EFM}
FORECAST_OBJECTIVE = "spacecast.objectives.forecast.ForecastObjective"
ELBO_OBJECTIVE = "spacecast.objectives.elbo.ElboObjective"

Rules = tuple[tuple[str, str], ...]  # first match wins; the rest of the name follows unchanged
SHARED_RULES: Rules = ((r"grid_decode_map\.", "grid_to_decoder."), (r"mesh_decode_map\.", "mesh_to_decoder."))
FM_RULES: Rules = (
    *SHARED_RULES,
    (r"grid_embedder\.", "grid_embedder.mlp."),
    (r"g2m_gnn\.", "encoder."),
    (r"m2g_gnn\.", "decoder."),
    (r"encoding_grid_mlp\.", "grid_mlp."),
    (r"output_map\.", "output."),
    (r"m2m_embedder\.", "processor.embedder."),
    (r"processor\.module_(\d+)\.", r"processor.layers.\1."),
    (r"mesh_embedders\.0\.", "mesh_embedder."),
    (r"mesh_(same|up|down)_embedders\.", r"processor.\1_embedders."),
    (r"mesh_init_gnns\.", "processor.fill."),
    (r"mesh_read_gnns\.", "processor.read_out."),
    (r"mesh_(up|down|up_same|down_same)_gnns\.", r"processor.\1."),
    (r"(g2m_embedder|m2g_embedder|mesh_embedder)\.", r"\1."),
)
ENCODER_RULES: Rules = (
    (r"g2m_gnn\.", "from_grid."),
    (r"mesh_up_gnns\.", "up."),
    (r"processor\.module_(\d+)\.", r"within.0.\1."),
    (r"intra_level_gnns\.(\d+)\.module_(\d+)\.", r"within.\1.\2."),
    (r"latent_param_map\.", "output."),
)
DECODER_RULES: Rules = (
    *SHARED_RULES,
    (r"g2m_gnn\.", "from_grid."),
    (r"m2g_gnn\.", "to_grid."),
    (r"mesh_(up|down)_gnns\.", r"\1."),
    (r"processor\.module_(\d+)\.", r"within_up.0.\1."),
    (r"intra_(up|down)_gnns\.(\d+)\.module_(\d+)\.", r"within_\1.\2.\3."),
    (r"grid_update_mlp\.", "grid_mlp."),
    (r"latent_embedder\.", "latent_embedder."),
    (r"param_map\.", "output."),
)
EFM_RULES: Rules = (
    (r"grid_prev_embedder\.", "grid_embedder.mlp."),
    (r"grid_current_embedder\.", "grid_next_embedder.mlp."),
    (r"(g2m|m2g)_embedder\.", r"graph_embedder.\1."),
    (r"mesh_embedder\.", "graph_embedder.nodes.0."),
    (r"mesh_embedders\.", "graph_embedder.nodes."),
    (r"m2m_embedder\.", "graph_embedder.same.0."),
    (r"m2m_embedders\.", "graph_embedder.same."),
    (r"mesh_(up|down)_embedders\.", r"graph_embedder.\1."),
)
CLAMP_BUFFERS = re.compile(r"(sigmoid|softplus)_(lower|upper)_lims|clamp_(lower_upper|lower|upper)_idx")


def rename(name: str, rules: Rules) -> str:
    """Rename one parameter by the first rule that matches its beginning."""
    above = re.match(r"mesh_embedders\.([1-9]\d*)\.", name)
    if above and rules is FM_RULES:  # the processor embeds the levels above the finest, counted from 0
        return f"processor.node_embedders.{int(above[1]) - 1}.{name[above.end() :]}"
    for pattern, replacement in rules:
        match = re.match(pattern, name)
        if match:
            return match.expand(replacement) + name[match.end() :]
    raise UserError(f"parameter {name!r} belongs to no known model of the reference")


def map_state_dict(model: str, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of the reference under our names, columns in our order.

    Its Graph-EFM embeds X_{t-1}, X_t, forcing, static features, X_{t+1}; ours X_{t+1}, X_t, X_{t-1}, forcing, static.

    Args:
        model: `graphcast`, `graph_fm` or `graph_efm`.
        state_dict: the reference's.

    Raises:
        UserError: for an unknown model or parameter.

    """
    if model not in TARGETS:
        raise UserError(f"the reference has no model {model!r} that is read here; {nearest(model, TARGETS)}")
    parameters = {name: value for name, value in state_dict.items() if not CLAMP_BUFFERS.fullmatch(name)}
    if model != "graph_efm":
        return {rename(name, FM_RULES): value for name, value in parameters.items()}
    mapped = {}
    parts: dict[str, tuple[str, Rules]] = {
        "prior_model": ("prior_encoder", ENCODER_RULES),
        "encoder": ("posterior_encoder", ENCODER_RULES),
        "decoder": ("decoder", DECODER_RULES),
    }
    for name, value in parameters.items():
        part, _, rest = name.partition(".")
        if part in parts:
            ours, rules = parts[part]
            mapped[f"{ours}.{rename(rest, rules)}"] = value
        else:
            mapped[rename(name, EFM_RULES)] = value
    if not any(".within" in name for name in mapped):  # embedded there too, but used by no layer
        mapped = {name: value for name, value in mapped.items() if not name.startswith("graph_embedder.same.")}
    return _reorder_inputs(mapped)


def _reorder_inputs(mapped: dict[str, Tensor]) -> dict[str, Tensor]:
    """Columns of the grid embedders of Graph-EFM in our order."""
    first, following = "grid_embedder.mlp.0.weight", "grid_next_embedder.mlp.0.weight"
    if first not in mapped or following not in mapped:
        raise UserError("the checkpoint lacks the grid embedders of graph_efm; it is of another model or version")
    size = mapped[first].shape[1]
    states = mapped[following].shape[1] - size
    order = [*range(states, 2 * states), *range(states), *range(2 * states, size)]
    mapped[first] = mapped[first][:, order]
    mapped[following] = mapped[following][:, [*range(size, size + states), *order]]
    return mapped


def map_hyper_parameters(
    arguments: Mapping[str, Any],
    *,
    num_states: int,
    lower: Mapping[str, float] | None = None,
    upper: Mapping[str, float] | None = None,
    weights: Mapping[str, float] | None = None,
) -> tuple[str, dict[str, Any]]:
    """Name of the model and keywords of its constructor, from the reference's command-line arguments.

    Args:
        arguments: flags of its training command by name; its defaults stand for those that are missing.
        num_states: state variables.
        lower, upper: output limits of its configuration, which its Graph-EFM ignores.
        weights: loss weights by variable name in its configuration; 1 / `num_states` each when there are none.

    Raises:
        UserError: for a model or an option that is not supported.

    """
    flags = DEFAULTS | dict(arguments)
    model = str(flags["model"])
    if model not in TARGETS:
        raise UserError(f"the checkpoint is of model {model!r}, which is not read here; {nearest(model, TARGETS)}")
    keywords: dict[str, Any] = {
        "hidden_dim": int(flags["hidden_dim"]),
        "decode_dim": None if flags["decode_dim"] is None else int(flags["decode_dim"]),
        "processor_layers": int(flags["processor_layers"]),
        "hidden_layers": int(flags["hidden_layers"]),
        "predict_std": bool(flags["output_std"]),
        "inputs": "states",
        "trend": 0.0,
    }
    if model == "graph_efm":
        noise = _observation_noise(flags, list((weights or {}).values()) or [1 / num_states])
        return model, keywords | _efm_keywords(flags) | {"observation_noise": noise}
    return model, keywords | {
        "vertical": "propagation" if flags["vertical_propnets"] else "interaction",
        "aggregation": str(flags["mesh_aggr"]),
        "accepts": "hierarchical" if model == "graph_fm" else "flat",
        "lower": {name: float(limit) for name, limit in (lower or {}).items()} or None,
        "upper": {name: float(limit) for name, limit in (upper or {}).items()} or None,
    }


DEFAULTS: dict[str, Any] = {
    "model": "graphcast",
    "hidden_dim": 64,
    "latent_dim": None,
    "decode_dim": None,
    "hidden_layers": 1,
    "processor_layers": 3,
    "encoder_processor_layers": 1,
    "prior_processor_layers": 1,
    "mesh_aggr": "sum",
    "output_std": False,
    "prior_dist": "isotropic",
    "learn_prior": 1,
    "vertical_propnets": 1,
    "sample_obs_noise": 0,
    "graph": "multiscale",
    "loss": "wmse",
    "kl_beta": 1.0,
    "crps_weight": 0.0,
    "div_weight": 0.0,
    "grad_checkpointing": False,
    "num_past_forcing_steps": 0,
    "num_future_forcing_steps": 0,
}


def map_loss(arguments: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """What it was trained to minimise, as a section of our configuration: `_target_` and keywords.

    Args:
        arguments: flags of its training command by name; its defaults stand for those that are missing.
        weights: loss weights by variable name in its configuration.

    """
    flags = DEFAULTS | dict(arguments)
    latent = flags["model"] == "graph_efm"
    section: dict[str, Any] = {
        "_target_": ELBO_OBJECTIVE if latent else FORECAST_OBJECTIVE,
        "_partial_": True,
        "loss": str(flags["loss"]),
        "variable_weights": dict(weights or {}),
    }
    if latent:
        section |= {"kl_weight": float(flags["kl_beta"]), "crps_weight": float(flags["crps_weight"])}
    return section | {
        "div_weight": float(flags["div_weight"]),
        "reduction": "reference",
        "recompute": bool(flags["grad_checkpointing"]),
    }


def map_data(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of our datastore that the reference trained with: its stored statistics, its window of the forcing."""
    flags = DEFAULTS | dict(arguments)
    return {
        "statistics": "stored",
        "forcing_past": int(flags["num_past_forcing_steps"]),
        "forcing_future": int(flags["num_future_forcing_steps"]),
    }


def _efm_keywords(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords that only Graph-EFM has. Its constant prior has mean 1, and softplus(1) + 1e-4 as a diagonal one."""
    learned, diagonal = bool(flags["learn_prior"]), flags["prior_dist"] == "diagonal"
    return {
        "latent_dim": None if flags["latent_dim"] is None else int(flags["latent_dim"]),
        "encoder_layers": int(flags["encoder_processor_layers"]),
        "prior_layers": int(flags["prior_processor_layers"]),
        "prior": "learned" if learned else "constant",
        "prior_distribution": str(flags["prior_dist"]),
        "prior_mean": 0.0 if learned else 1.0,
        "prior_std": 1e-4 + math.log1p(math.e) if diagonal and not learned else 1.0,
        "accepts": "any",
        "scale_increments": False,
        "lower": None,
        "upper": None,
    }


def _observation_noise(flags: Mapping[str, Any], weights: list[float]) -> float:
    """Noise that its Graph-EFM adds to each step, over the predicted standard deviation or that of the increments."""
    if not flags["sample_obs_noise"]:
        return 0.0
    if flags["output_std"]:
        return 1.0
    if min(weights) != max(weights) or not min(weights) > 0:
        raise UserError("the checkpoint samples observation noise of unlike size for each variable: not supported")
    return 1 / math.sqrt(weights[0])
