"""The same work in a checkout of fmihpc/spacecast, which the caller names; it is imported and called, nothing else.

Its command line needs services and drawing packages that measure nothing; where `wandb` or `tueplots` are absent, empty
modules stand in their place, and its model, data and graph classes are driven directly, as its own trainer does.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import machine
import subject as subjects
import torch
from cases import Result, Size, endless

ABSENT = ("wandb", "tueplots", "tueplots.bundles", "tueplots.figsizes")
ARGUMENTS: dict[str, Any] = {
    "num_past_forcing_steps": 0, "num_future_forcing_steps": 0, "output_std": 0, "loss": "wmse", "div_weight": 10.0,
    "restore_opt": 0, "n_example_pred": 1, "batch_size": 1, "grad_checkpointing": 0, "hidden_layers": 1,
    "decode_dim": None, "processor_layers": 4, "vertical_propnets": 1, "mesh_aggr": "sum", "lr": 1e-3,
    "learn_prior": 1, "prior_dist": "isotropic", "prior_processor_layers": 1, "encoder_processor_layers": 1,
    "latent_dim": None, "kl_beta": 1.0, "crps_weight": 1e6, "ensemble_size": 10, "sample_obs_noise": 0,
    "num_latents_plot": 0, "var_leads_val_plot": {}, "var_leads_metrics_watch": {}, "metrics_watch": [],
    "val_steps_to_log": [1],
}  # fmt: skip
LEVELS = ["--levels", "3"]
GRAPHS = {"simple": ["--levels", "1"], "multiscale": LEVELS, "hierarchical": [*LEVELS, "--hierarchical"]}


def import_from(checkout: Path) -> list[str]:
    """Make `neural_lam` of a checkout importable; returns the packages that stand empty."""
    if not (checkout / "neural_lam").is_dir():
        raise SystemExit(f"--reference {checkout}: there is no package neural_lam; give a checkout of fmihpc/spacecast")
    sys.path.insert(0, str(checkout))
    absent = [name for name in ABSENT if "." not in name and importlib.util.find_spec(name) is None]
    for name in ABSENT:
        if name.partition(".")[0] in absent:
            sys.modules[name] = MagicMock(__spec__=ModuleSpec(name, None))
    return absent


def prepared(size: Size, work: Path) -> Path:
    """A folder with data in the published layout, and the configuration that leads to them."""
    folder = work / f"{size[0]}x{size[1]}"
    subjects.write_data(folder, size)
    text = "datastore:\n  kind: mdp\n  config_path: vlasiator_run_1.yaml\n"
    (folder / "reference.yaml").write_text(text)
    return folder


def build_graph(folder: Path, name: str, size: Size, *, again: bool = False) -> None:
    """Build a graph with its own command, where it is not there yet."""
    if again or not (folder / "graph" / name / "m2m_edge_index.pt").exists():
        from neural_lam.create_graph import cli

        where = ["--config_path", str(folder / "reference.yaml"), "--name", name]
        cli([*where, "--coarsen-factor", str(subjects.coarsening(size)), *GRAPHS[name]])


def model_of(kind: str, size: Size, width: int, work: Path, **changes: Any) -> Any:
    """One of its models, with the settings of ours."""
    from neural_lam.config import load_config_and_datastores
    from neural_lam.models import GraphCast, GraphEFM, GraphFM

    folder = prepared(size, work)
    name = {"flat": "simple", "hierarchical": "hierarchical", "efm": "multiscale"}[kind]
    build_graph(folder, name, size)
    config, datastore, _ = load_config_and_datastores(config_path=str(folder / "reference.yaml"))
    arguments = argparse.Namespace(**ARGUMENTS | {"graph": name, "hidden_dim": width} | changes)
    kinds = {"flat": GraphCast, "hierarchical": GraphFM, "efm": GraphEFM}
    torch.manual_seed(1)
    model = kinds[kind](arguments, config=config, datastore=datastore)
    model.log_dict = lambda *_, **__: None
    return model


def batch_of(model: Any, steps: int) -> tuple[torch.Tensor, ...]:
    """Standardised states of noise as its data loader hands them out."""
    torch.manual_seed(0)
    nodes, states = model.num_grid_nodes, 12
    initial, target = torch.randn(1, 2, nodes, states), torch.randn(1, steps, nodes, states)
    return initial, target, torch.zeros(1, steps, nodes, 0), torch.zeros(1, steps, dtype=torch.int64)


def step(kind: str, **changes: Any) -> Callable[..., Callable[[], Any]]:
    """An optimiser step with a roll-out of 4."""

    def make(size: Size, width: int, work: Path) -> Callable[[], Any]:
        model = model_of(kind, size, width, work, **changes)
        optimizer, batch = model.configure_optimizers(), batch_of(model, 4)

        def act() -> None:
            optimizer.zero_grad(set_to_none=True)
            model.training_step(batch).backward()
            optimizer.step()

        return act

    return make


def rollout(size: Size, width: int, work: Path) -> Callable[[], Any]:
    """A roll-out of 4 steps without gradients."""
    model = model_of("flat", size, width, work)
    initial, target, forcing, _ = batch_of(model, 4)

    def act() -> None:
        with torch.inference_mode():
            model.unroll_prediction(initial, forcing, target)

    return act


def ensemble(size: Size, width: int, work: Path) -> Callable[[], Any]:
    """Ten members of ten steps."""
    model = model_of("efm", size, width, work)
    initial, target, forcing, _ = batch_of(model, 10)

    def act() -> None:
        with torch.inference_mode():
            model.sample_trajectories(initial, forcing, target, 10)

    return act


def graph(name: str) -> Callable[..., Callable[[], Any]]:
    """A graph, built and written."""

    def make(size: Size, _: int, work: Path) -> Callable[[], Any]:
        folder = prepared(size, work)
        return lambda: build_graph(folder, name, size, again=True)

    return make


def window(size: Size, _: int, work: Path) -> Callable[[], Any]:
    """A window of 2 + 4 frames in random order."""
    from neural_lam.config import load_config_and_datastores
    from neural_lam.weather_dataset import WeatherDataset

    _, datastore, _ = load_config_and_datastores(config_path=str(prepared(size, work) / "reference.yaml"))
    windows = WeatherDataset(datastore, "train", 4, 0, 0)
    order = endless(len(windows))
    return lambda: windows[next(order)]


WORK: dict[str, Callable[..., Callable[[], Any]]] = {
    "graph": graph("simple"),
    "graph-hierarchical": graph("hierarchical"),
    "window": window,
    "window-cached": window,
    "step-flat": step("flat"),
    "step-flat-bf16": step("flat"),
    "step-flat-recompute": step("flat", grad_checkpointing=1),
    "step-hierarchical": step("hierarchical"),
    "step-efm": step("efm"),
    "rollout": rollout,
    "ensemble": ensemble,
}
"""What stands against each of our cases; against a fast setting of ours stands its plain one."""


def measure(case: str, size: Size, width: int | None, work: Path, repetitions: int, checkout: Path) -> Result:
    """Time and memory of the reference's side of a case."""
    absent = import_from(checkout)
    found = machine.measure(WORK[case](size, width or 64, work), repetitions)
    return {**found._asdict(), "absent": absent}
