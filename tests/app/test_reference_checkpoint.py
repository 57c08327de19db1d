"""Checkpoints of the published reference implementation through the commands: its scores, and what goes wrong."""

import argparse
import csv
import importlib
import os
import pickle
import shutil
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import yaml

from spacecast.checkpoint.content import load_checkpoint
from spacecast.checkpoint.reference_file import read_reference_checkpoint
from spacecast.config.compose import conf_dir
from spacecast.data.datastore import RunDatastore
from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.scores import Scores
from spacecast.graphs.stored import StoredGraph

KINDS = ("simple", "multiscale", "hierarchical")
EFM = {"rmse": "ens_rmse", "mae": "ens_mae", "crps": "crps_ens", "spread": "spread", "member_rmse": "rmse"}
QUICK = [
    "evaluation.steps=4", "evaluation.windows=2", "evaluation.spread=false", "evaluation.examples=0", "logger=none",
    "trainer=cpu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])


@pytest.fixture
def published(reference_dir):
    """Words that name the published data and graph: published(kind, root)."""

    def words(kind: str = "simple", root: Path | None = None, runs: str = "[2]") -> list[str]:
        root = root or reference_dir / "data"
        graph = ["graph=stored", f"graph.path={reference_dir}/data/graph/{kind}"]
        return ["datastore=vlasiator", f"datastore.root={root}", f"datastore.runs={runs}", *graph]

    return words


def read(folder: Path, metrics, names=None) -> dict[str, np.ndarray]:
    """Scores of a run folder, (lead, variable) each."""
    scores = Scores.read_csv(folder / "scores.csv")
    return {m: np.stack([scores.series(m, v)[1] for v in names or scores.variables], axis=-1) for m in metrics}


def expected(folder: Path, name: str) -> np.ndarray:
    """Scores that the reference wrote."""
    return np.loadtxt(folder / f"test_{name}.csv", delimiter=",")


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder."""
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


# --- scores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_of_the_reference(run, workplace, reference_dir, kind):
    """From the folder that holds data and checkpoints, with relative paths, and nothing else typed."""
    for name in ("data", "trained"):
        (workplace / name).symlink_to(reference_dir / name)
    before = contents(reference_dir)
    words = ["datastore=vlasiator", "datastore.root=data", "datastore.runs=[2]", "graph=stored"]
    words += [f"graph.path=data/graph/{kind}", "evaluation.split=test", *QUICK]
    result = run("spacecast-evaluate", f"checkpoint=trained/graph_fm_{kind}/last.ckpt", *words, "paths.run_dir=run")
    assert (result.code, result.err) == (0, "")
    assert "weights of the reference implementation, trained for 2 epochs" in result.out
    found = read(workplace / "run", ("rmse", "mae"))
    for name, values in found.items():
        theirs = expected(reference_dir / "trained" / f"graph_fm_{kind}", name)
        np.testing.assert_allclose(values, theirs, rtol=1e-5)
    assert contents(reference_dir) == before
    assert {path.name for path in workplace.iterdir()} == {"data", "trained", "run"}
    config = yaml.safe_load((workplace / "run" / "config.yaml").read_text())
    assert config["datastore"]["statistics"] == "stored"
    assert (config["model"]["hidden_dim"], config["model"]["decode_dim"]) == (16, 8)
    assert (config["loss"]["reduction"], config["loss"]["div_weight"]) == ("reference", 10.0)


def test_a_forecast_of_a_published_checkpoint(run, workplace, reference_dir, published):
    """From any run in the published layout, whose statistics are those of the data that are named."""
    words = [f"checkpoint={reference_dir}/trained/graph_fm_simple/last.ckpt", *published(), "trainer=cpu"]
    result = run("spacecast-forecast", *words, "run=2", "start=5", "steps=2", "output=a.zarr")
    assert (result.code, result.err) == (0, "")
    forecast = xr.load_dataset(workplace / "a.zarr")
    assert (forecast.attrs["run"], forecast.sizes["lead_time"]) == ("2", 2)
    assert np.isfinite(forecast["rho"]).any()
    result = run("spacecast-forecast", *words[:1], "start=5", "output=b.zarr")
    assert result.code == 2
    assert "give datastore=vlasiator datastore.root=DIR graph=stored" in result.line


@pytest.mark.slow
def test_an_ensemble_within_its_sampling_error(run, workplace, reference_dir, published):
    """Scores of three members are random: the reference's must lie where ours of eight seeds do.

    The command gives the scores of one seed; the same function gives those of others. With eight seeds, whose mean and
    standard deviation are m and s, another draw has (x - m) / (s sqrt(1 + 1/8)) distributed as Student's t with 7
    degrees of freedom. 8 is exceeded once in 10 000 draws, and here there are 240, far from independent.
    """
    folder = reference_dir / "trained" / "graph_efm_simple"
    words = [*published(), *QUICK, "evaluation.members=3", "evaluation.seed=0", "paths.run_dir=run"]
    result = run("spacecast-evaluate", f"checkpoint={folder}", *words)
    assert (result.code, result.err) == (0, "")
    drawn = [read(workplace / "run", EFM)]
    stored = read_reference_checkpoint(folder / "last.ckpt")
    datastore = RunDatastore(reference_dir / "data", [2], statistics="stored")
    graph = StoredGraph(reference_dir / "data" / "graph" / "simple").build(datastore.spec.grid)
    module, _, name = stored["target"].rpartition(".")
    model = getattr(importlib.import_module(module), name)(datastore.spec, graph, **stored["hyper_parameters"])
    model.load_state_dict(stored["state_dict"])
    for seed in range(1, 8):
        scores = evaluate(model, datastore, steps=4, windows=2, members=3, seed=seed)
        drawn.append({m: np.stack([scores.series(m, v)[1] for v in scores.variables], axis=-1) for m in EFM})
    for ours, theirs in EFM.items():
        samples = np.stack([scores[ours] for scores in drawn])
        spread = samples.std(axis=0, ddof=1) * np.sqrt(1 + 1 / len(samples))
        assert np.abs((expected(folder, theirs) - samples.mean(axis=0)) / spread).max() < 8
        limit = 0.1 if ours == "spread" else 0.01
        np.testing.assert_allclose(samples.mean(axis=0), expected(folder, theirs), rtol=limit)


def test_an_ensemble_unless_something_else_is_typed(run, workplace, reference_dir, published):
    checkpoint = f"checkpoint={reference_dir}/trained/graph_efm_simple"
    quick = [word for word in QUICK if "windows" not in word]
    words = [*published(), *quick, "evaluation.windows=1"]
    assert run("spacecast-evaluate", checkpoint, *words, "paths.run_dir=a").code == 0
    section = yaml.safe_load((workplace / "a" / "config.yaml").read_text())["evaluation"]
    ensemble = yaml.safe_load((conf_dir() / "evaluation" / "ensemble.yaml").read_text())
    assert (section["members"], section["estimator"]) == (ensemble["members"], ensemble["estimator"])
    assert {"crps", "spread", "spread_skill_ratio"} <= set(Scores.read_csv(workplace / "a" / "scores.csv").metrics)
    result = run("spacecast-evaluate", checkpoint, "evaluation=deterministic", *words, "paths.run_dir=b")
    assert result.code == 0, result.err
    assert "crps" not in Scores.read_csv(workplace / "b" / "scores.csv").metrics


def test_typed_statistics_win(run, workplace, reference_dir, published):
    """And nothing is written beside data that may not be written to."""
    root = Path(shutil.copytree(reference_dir / "data", workplace / "copy"))
    root.chmod(0o555)
    words = [*published(root=root), "datastore.statistics=pooled", *QUICK, "paths.run_dir=run"]
    result = run("spacecast-evaluate", f"checkpoint={reference_dir}/trained/graph_fm_simple", *words)
    root.chmod(0o755)
    assert (result.code, result.err) == (0, "")
    theirs = expected(reference_dir / "trained" / "graph_fm_simple", "rmse")
    assert not np.allclose(read(workplace / "run", ["rmse"])["rmse"], theirs, rtol=1e-3)
    assert not (root / ".spacecast").exists()


# --- other options and data --------------------------------------------------------------------------------------


@pytest.fixture
def write(foreign, tmp_path_factory):
    """Writes a checkpoint like the reference's: write(state_dict, lower=..., upper=..., weights=..., **flags)."""

    def make(state_dict, lower=None, upper=None, weights=None, extra=None, **flags) -> Path:
        uniform, manual = foreign.UniformFeatureWeighting, foreign.ManualStateFeatureWeighting
        weighting = manual(weights=weights) if weights else uniform()
        config = foreign.NeuralLAMConfig(
            datastore=foreign.DatastoreSelection(kind="mdp", config_path="vlasiator_run.yaml"),
            training=foreign.TrainingConfig(
                state_feature_weighting=weighting,
                output_clamping=foreign.OutputClamping(lower=lower or {}, upper=upper or {}),
            ),
        )
        arguments = argparse.Namespace(**flags, **({} if extra is None else {"extra": extra}))
        path = tmp_path_factory.mktemp("saved") / "last.ckpt"
        saved = {"args": arguments, "config": config}
        torch.save({"epoch": 3, "state_dict": state_dict, "hyper_parameters": saved}, path)
        for name in ("neural_lam", "neural_lam.config"):
            sys.modules.pop(name, None)
        return path

    return make


@pytest.fixture
def variant(reference_dir):
    """Flags, parameters and arrays of one file of results."""

    def load(name: str):
        arrays = np.load(reference_dir / "tensors" / f"{name}.npz")
        flags = {key[4:]: arrays[key].item() for key in arrays.files if key.startswith("arg/")}
        parameters = {key[3:]: torch.as_tensor(arrays[key]) for key in arrays.files if key.startswith("sd/")}
        return flags, parameters, arrays

    return load


VARIANTS = [
    "graphcast_simple",
    "graphcast_simple_std",
    "graphcast_multiscale_mean_interaction",
    "graph_fm_hierarchical",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_forecasts_of_other_options_are_the_references(run, workplace, reference_dir, published, write, variant, name):
    """Predicted deviations, other widths and depths, interaction networks and means, hierarchies."""
    flags, parameters, arrays = variant(name)
    path = write(parameters, **flags)
    words = ["evaluation.split=train", "evaluation.steps=3", "evaluation.windows=6", "evaluation.examples=6",
             "evaluation.spread=false"]
    words += ["logger=none", "trainer=cpu", "paths.run_dir=run"]
    result = run("spacecast-evaluate", f"checkpoint={path}", *published(flags["graph"]), *words)
    assert (result.code, result.err) == (0, "")
    spec = RunDatastore(reference_dir / "data", [2], statistics="stored").spec
    with xr.open_zarr(workplace / "run" / "examples.zarr", chunks=None) as examples:
        planes = np.stack([examples[each].values[[0, 5]] for each in spec.state.names], axis=-1)
    found = (planes[:, :, spec.grid.valid] - spec.state.mean) / spec.state.std
    assert np.abs(found - arrays["pred"]).max() < 2e-5 * np.abs(arrays["pred"]).max()


def test_limits_and_weights_come_from_the_file(run, workplace, published, write, variant):
    _, parameters, _ = variant("graphcast_clamped_weighted")
    limits = {"lower": {"rho": 0, "P": 0, "vz": -60}, "upper": {"vz": 90, "By": 100}}
    flags = {"model": "graphcast", "graph": "simple", "hidden_dim": 16, "processor_layers": 2}
    path = write(parameters, **limits, weights={"Bz": 2, "rho": 2}, **flags)
    words = ["evaluation.examples=1", "evaluation.steps=4", "evaluation.windows=1", "logger=none", "paths.run_dir=run"]
    result = run("spacecast-evaluate", f"checkpoint={path}", *published(runs="[1]"), *words)
    assert (result.code, result.err) == (0, "")
    config = yaml.safe_load((workplace / "run" / "config.yaml").read_text())
    assert config["model"]["lower"] == {"rho": 0.0, "P": 0.0, "vz": -60.0}
    assert config["model"]["upper"] == {"vz": 90.0, "By": 100.0}
    assert config["loss"]["variable_weights"] == {"Bz": 2.0, "rho": 2.0}
    with xr.open_zarr(workplace / "run" / "examples.zarr", chunks=None) as examples:
        assert float(examples["rho"].min()) >= 0
        assert float(examples["vz"].max()) <= 90


def doubled(parameters, prefix):
    """Parameters whose last layer gives a standard deviation as well."""
    twice = {f"{prefix}.2.{end}": torch.cat([parameters[f"{prefix}.2.{end}"]] * 2) for end in ("weight", "bias")}
    return parameters | twice


OTHERS = {
    "graph_efm_constant_prior": {},
    "graph_efm_multiscale_latent": {},
    "graph_efm_hierarchical": {},
    "graph_efm_simple": {"sample_obs_noise": 1},
    "graph_efm_simple with deviations": {"output_std": True, "loss": "nll"},
    "graph_efm_simple with deviations and noise": {"output_std": True, "sample_obs_noise": 1},
    "graph_efm_simple with a diagonal prior": {"prior_dist": "diagonal"},
    "graph_efm_constant_prior with a diagonal prior": {"prior_dist": "diagonal"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_latent_models_of_all_options_are_evaluated(run, workplace, published, write, variant, name):
    """That their distributions are the reference's is shown in tests/interop; here, that nothing has to be typed."""
    flags, parameters, _ = variant(name.partition(" ")[0])
    flags |= OTHERS[name]
    if flags.get("output_std"):
        parameters = doubled(parameters, "decoder.param_map")
    if "prior_model.latent_param_map.2.bias" in parameters and "diagonal" in name:
        parameters = doubled(parameters, "prior_model.latent_param_map")
    words = ["evaluation.steps=2", "evaluation.windows=1", "evaluation.examples=0", "evaluation.members=4"]
    path = write(parameters, **flags)
    words += ["logger=none", "paths.run_dir=run"]
    result = run("spacecast-evaluate", f"checkpoint={path}", *published(flags["graph"]), *words)
    assert (result.code, result.err) == (0, "")
    found = read(workplace / "run", ("rmse", "crps", "spread"))
    assert all(np.isfinite(values).all() and (values > 0).all() for values in found.values())


@pytest.fixture
def rewritten(reference_dir, tmp_path_factory):
    """Run 2 written anew: rewritten(change, zarr_format, name) gives the data folder."""

    def make(change=lambda dataset: dataset, zarr_format: int = 3, name: str = "vlasiator_run_2") -> Path:
        folder = tmp_path_factory.mktemp("rewritten")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = xr.open_zarr(reference_dir / "data" / "vlasiator_run_2.zarr", chunks=None).load()
            for variable in dataset.variables.values():
                variable.encoding.clear()
            change(dataset).to_zarr(folder / f"{name}.zarr", zarr_format=zarr_format, consolidated=zarr_format == 2)
        return folder

    return make


def z_fast_to_x_fast(dataset):
    """The cells in the other stacking order."""
    return dataset.isel(grid_index=np.lexsort((dataset.x.values, dataset.z.values)))


@pytest.mark.parametrize(
    ("change", "zarr_format", "name"),
    [
        (lambda dataset: dataset, 2, "vlasiator_run_2"),
        (lambda dataset: dataset, 2, "vlasiator_run"),
        (z_fast_to_x_fast, 3, "vlasiator_run_2"),
        (lambda dataset: dataset.transpose("grid_index", "time", ...), 3, "vlasiator_run_2"),
    ],
    ids=["zarr 2", "one run", "other stacking", "other axes"],
)
def test_the_same_scores_from_data_that_are_stored_in_another_way(
    run, workplace, reference_dir, published, rewritten, change, zarr_format, name
):
    root = rewritten(change, zarr_format, name)
    runs = "[run]" if name == "vlasiator_run" else "[2]"
    folder = reference_dir / "trained" / "graph_fm_simple"
    words = [*published(root=root, runs=runs), *QUICK, "paths.run_dir=run"]
    result = run("spacecast-evaluate", f"checkpoint={folder}", *words)
    assert (result.code, result.err) == (0, "")
    np.testing.assert_allclose(read(workplace / "run", ["rmse"])["rmse"], expected(folder, "rmse"), rtol=1e-5)


def test_another_grid(run, workplace, reference_dir, published, rewritten):
    """Weights know no grid: a graph built by the published recipe takes them there; a stored graph does not fit."""
    root = rewritten(lambda dataset: dataset.isel(grid_index=np.flatnonzero(dataset.x.values > -50)))
    checkpoint = f"checkpoint={reference_dir}/trained/graph_fm_simple"
    result = run("spacecast-evaluate", checkpoint, *published(root=root), *QUICK, "paths.run_dir=run")
    assert result.code == 2
    assert "grid" in result.line
    words = [word for word in published(root=root) if not word.startswith("graph")]
    words += ["graph=reference", "graph.coarsening=3", *QUICK, "paths.run_dir=run"]
    result = run("spacecast-evaluate", checkpoint, *words)
    assert (result.code, result.err) == (0, "")


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lacking", "end"),
    [
        (("datastore", "graph"), "says nothing of data and graph: give datastore=vlasiator datastore.root=DIR "
         "graph=stored graph.path=DIR/graph/multiscale"),
        (("datastore",), "says nothing of data: give datastore=vlasiator datastore.root=DIR"),
        (("graph",), "says nothing of graph: give graph=stored graph.path=DIR/graph/multiscale"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["spacecast-evaluate", "spacecast-data"])
def test_what_the_file_does_not_say_must_be_given(run, workplace, reference_dir, published, command, lacking, end):
    words = [word for word in published("multiscale") if not word.startswith(lacking)]
    words += [f"checkpoint={reference_dir}/trained/graph_fm_multiscale"]
    words += ["import-checkpoint", "output=x.ckpt"] if command == "spacecast-data" else []
    result = run(command, *words)
    assert result.code == 2
    assert result.line.endswith(end)
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("trained", "kind", "message"),
    [
        ("graph_fm_simple", "hierarchical", "this model works on flat graphs, found a hierarchical one"),
        ("graph_fm_hierarchical", "multiscale", "this model works on hierarchical graphs, found a flat one"),
        ("graph_efm_simple", "hierarchical", "do not fit: lack "),
        ("graph_fm_simple", "nowhere", "is no folder"),
    ],
)
def test_graphs_of_the_wrong_kind(run, workplace, reference_dir, published, trained, kind, message):
    words = [f"checkpoint={reference_dir}/trained/{trained}", *published(kind), *QUICK, "paths.run_dir=run"]
    result = run("spacecast-evaluate", *words)
    assert (result.code, message in result.line) == (2, True), result.err
    assert list(workplace.iterdir()) == []


def test_a_graph_of_another_name_is_told(run, reference_dir, published):
    words = [f"checkpoint={reference_dir}/trained/graph_fm_simple", *published("multiscale"), *QUICK]
    result = run("spacecast-evaluate", *words, "paths.run_dir=run")
    assert result.code == 0
    assert "trained on a graph of the name simple, this one is called multiscale" in result.out + result.err


def test_other_variables(run, workplace, published, write, variant, rewritten):
    flags, parameters, _ = variant("graphcast_simple")
    path = write(parameters, **flags)
    root = rewritten(lambda dataset: dataset.isel(state_feature=slice(11)))
    result = run("spacecast-evaluate", f"checkpoint={path}", *published(root=root), *QUICK, "paths.run_dir=run")
    assert result.code == 2
    assert "grid_embedder.mlp.0.weight has shape (16, 27), here (16, 25) (other variables" in result.line
    assert list(workplace.iterdir()) == []


def test_limits_of_other_variables(run, workplace, published, write, variant):
    flags, parameters, _ = variant("graphcast_simple")
    path = write(parameters, lower={"density": 0}, **flags)
    result = run("spacecast-evaluate", f"checkpoint={path}", *published(), *QUICK, "paths.run_dir=run")
    assert result.code == 2
    assert "no variable 'density'" in result.line
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"), [({"model": "hilam"}, "'hilam', which is not read"), ({"hidden_dim": "x"}, "invalid literal")]
)
def test_files_that_make_no_sense(run, workplace, published, write, variant, flags, message):
    known, parameters, _ = variant("graphcast_simple")
    path = write(parameters, **(known | flags))
    result = run("spacecast-evaluate", f"checkpoint={path}", *published())
    assert (result.code, message in result.line) == (2, True), result.err
    assert list(workplace.iterdir()) == []


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("command", ["spacecast-evaluate", "spacecast-data"])
@pytest.mark.parametrize("place", ["arguments", "parameters", "bare"])
def test_hostile_files_are_refused_and_nothing_runs(run, workplace, published, write, variant, place, command):
    flags, parameters, _ = variant("graphcast_simple")
    marker = workplace.parent / "executed"
    bad = Call(os.system, f"touch {marker}")
    if place == "bare":
        path = workplace.parent / "bare.ckpt"
        path.write_bytes(pickle.dumps({"state_dict": {}, "call": bad}))
    else:
        where = {"extra": bad} if place == "arguments" else {}
        path = write(parameters | ({"x.weight": bad} if place == "parameters" else {}), **flags, **where)
    assert not marker.exists()
    words = ["import-checkpoint", "output=x.ckpt"] if command == "spacecast-data" else ["paths.run_dir=run"]
    result = run(command, f"checkpoint={path}", *published(), *words)
    assert result.code == 2
    assert "spacecast-" in result.line
    assert not marker.exists()
    assert list(workplace.iterdir()) == []


def test_a_damaged_file_is_refused(run, workplace, reference_dir, published):
    good = (reference_dir / "trained" / "graph_fm_simple" / "last.ckpt").read_bytes()
    path = workplace.parent / "cut.ckpt"
    for content in (good[: len(good) // 2], good.replace(b"Namespace", b"Namespade")):
        path.write_bytes(content)
        result = run("spacecast-evaluate", f"checkpoint={path}", *published(), "paths.run_dir=run")
        assert (result.code, str(path) in result.line) == (2, True), result.err
    assert list(workplace.iterdir()) == []


def test_folders_as_the_reference_leaves_them(run, workplace, reference_dir, published):
    """`min_val_loss.ckpt` is its best."""
    saved = workplace / "saved"
    saved.mkdir()
    result = run("spacecast-evaluate", "checkpoint=saved", *published())
    assert (result.code, f"no checkpoint at {saved}" in result.line) == (2, True)
    (saved / "min_val_loss.ckpt").symlink_to(reference_dir / "trained" / "graph_fm_simple" / "last.ckpt")
    (saved / "last.ckpt").write_bytes(b"")
    result = run("spacecast-evaluate", "checkpoint=saved", *published(), *QUICK, "paths.run_dir=run")
    assert (result.code, result.err) == (0, "")


# --- conversion --------------------------------------------------------------------------------------------------


@pytest.fixture
def converted(run, workplace, reference_dir, published):
    """A converted checkpoint: converted(name, kind)."""

    def make(name: str, kind: str = "simple") -> Path:
        words = ["import-checkpoint", f"checkpoint={reference_dir}/trained/{name}", "output=native.ckpt"]
        result = run("spacecast-data", *words, *published(kind))
        assert (result.code, result.err) == (0, "")
        assert f"checkpoint: {workplace}/native.ckpt" in result.out
        assert {path.name for path in workplace.iterdir()} == {"native.ckpt"}
        return workplace / "native.ckpt"

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_checkpoint_needs_no_further_words(run, workplace, reference_dir, converted, kind, monkeypatch):
    path = converted(f"graph_fm_{kind}", kind)
    content = torch.load(path, weights_only=True)["spacecast"]
    assert content["data_spec"]["state"]["names"][:3] == ["Bx", "By", "Bz"]
    assert content["graph"]["recipe"]["folder"] == kind
    assert content["config"]["datastore"]["statistics"] == "stored"
    (workplace / "elsewhere").mkdir()
    monkeypatch.chdir(workplace / "elsewhere")
    result = run("spacecast-evaluate", f"checkpoint={path}", *QUICK, "paths.run_dir=run")
    assert (result.code, result.err) == (0, "")
    folder = reference_dir / "trained" / f"graph_fm_{kind}"
    for name, values in read(workplace / "elsewhere" / "run", ("rmse", "mae")).items():
        np.testing.assert_allclose(values, expected(folder, name), rtol=1e-5)


@pytest.mark.slow
def test_a_converted_ensemble_gives_the_scores_of_the_original(run, workplace, reference_dir, published, converted):
    path = converted("graph_efm_simple")
    assert run("spacecast-evaluate", f"checkpoint={path}", *QUICK, "paths.run_dir=a").code == 0
    words = [f"checkpoint={reference_dir}/trained/graph_efm_simple", *published(), *QUICK]
    assert run("spacecast-evaluate", *words, "paths.run_dir=b").code == 0
    with (workplace / "a" / "scores.csv").open() as ours, (workplace / "b" / "scores.csv").open() as theirs:
        lines = list(csv.reader(ours))
        assert lines == list(csv.reader(theirs))
    assert any(line[0] == "crps" for line in lines)


def test_a_conversion_never_overwrites_by_accident(run, workplace, reference_dir, published, converted):
    path = converted("graph_fm_simple")
    path.write_bytes(b"precious")
    words = ["import-checkpoint", f"checkpoint={reference_dir}/trained/graph_fm_simple", f"output={path}", *published()]
    result = run("spacecast-data", *words)
    assert (result.code, result.line.endswith("exists; give overwrite=true, or another file")) == (2, True)
    assert path.read_bytes() == b"precious"
    assert run("spacecast-data", *words, "overwrite=true").code == 0
    assert load_checkpoint(path)["spacecast"]["reference"]["epochs"] == 2


@pytest.mark.slow
def test_a_conversion_that_fails_leaves_nothing(run, workplace, reference_dir, published, converted):
    checkpoint = f"checkpoint={reference_dir}/trained/graph_fm_simple"
    for words, message in (
        ([checkpoint, "output=x.ckpt", *published("hierarchical")], "works on flat graphs"),
        ([checkpoint, "output=x.ckpt", *published(root=Path("/nowhere"))], "data folder /nowhere does not exist"),
        ([checkpoint, f"output={workplace}", *published()], "exists; name a file in it"),
        ([checkpoint, "output=/dev/null/x.ckpt", *published()], "cannot write there"),
        ([checkpoint, *published()], "give output=FILE"),
        (["output=x.ckpt", *published()], "give checkpoint=FILE"),
        (["output=x.ckpt", "checkpoint=nowhere.ckpt", *published()], f"no checkpoint at {workplace}/nowhere.ckpt"),
    ):
        result = run("spacecast-data", "import-checkpoint", *words)
        assert (result.code, message in result.line) == (2, True), result.err
        assert list(workplace.iterdir()) == []
    path = converted("graph_fm_simple")
    result = run("spacecast-data", "import-checkpoint", f"checkpoint={path}", "output=x.ckpt", *published())
    assert (result.code, "is a checkpoint of spacecast already" in result.line) == (2, True)


TRAINING = [
    "model=graphcast", "model.hidden_dim=16", "model.decode_dim=8", "model.processor_layers=2",
    "model.vertical=propagation", "model.lower=null", "datastore.statistics=stored", "trainer=cpu",
    "trainer.max_epochs=1", "logger=none", "data.limit_windows=1", "data.limit_val_windows=1",
    "data.val_steps=2", "evaluation.steps=2", "evaluation.windows=1", "evaluation.examples=0", "optimizer.lr=0",
    "paths.run_dir=run",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("as_it_is", [True, False], ids=["original", "converted"])
def test_training_starts_from_its_weights(run, workplace, reference_dir, published, converted, as_it_is):
    original = reference_dir / "trained" / "graph_fm_simple" / "last.ckpt"
    start = original if as_it_is else converted("graph_fm_simple")
    result = run("spacecast-train", *published(), *TRAINING, f"init_from={start}")
    assert (result.code, result.err) == (0, "")
    assert f"weights of {start}" in result.out
    trained = load_checkpoint(workplace / "run")["state_dict"]
    for name, weight in load_checkpoint(original)["state_dict"].items():
        torch.testing.assert_close(trained[name], weight)
    words = ["checkpoint=run", *QUICK, "paths.run_dir=again"]  # the data of this training are not simulated anew
    assert run("spacecast-evaluate", *words).code == 0
    folder = reference_dir / "trained" / "graph_fm_simple"
    np.testing.assert_allclose(read(workplace / "again", ["mae"])["mae"], expected(folder, "mae"), rtol=1e-5)


@pytest.mark.parametrize("as_it_is", [True, False], ids=["original", "converted"])
def test_weights_are_no_training_to_go_on_with(run, workplace, reference_dir, published, converted, as_it_is):
    start = reference_dir / "trained" / "graph_fm_simple" if as_it_is else converted("graph_fm_simple")
    result = run("spacecast-train", *published(), *TRAINING, f"resume={start}")
    assert result.code == 2
    assert result.line.endswith(f"holds weights, not a training to go on with; use init_from={start}")
    assert not (workplace / "run").exists()
    assert zipfile.is_zipfile(start if start.is_file() else start / "last.ckpt")
