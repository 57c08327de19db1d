"""`auto` in the section `model`: what the data allow, recorded once, and the same ever after."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from spacecast.app.assemble import open_prepared
from spacecast.app.auto import decided, training_frames, with_choices
from spacecast.app.train import COMMAND
from spacecast.checkpoint.content import load_checkpoint
from spacecast.config.build import build
from spacecast.config.check import check_config
from spacecast.config.complete import completed
from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.schema import Section, Train, typed
from spacecast.core.errors import UserError
from spacecast.core.spec import FeatureSpec
from spacecast.core.units import NKT, SPEED_TIMES_FIELD
from spacecast.training.precision import best_precision

KEYS = ("inputs", "magnetic", "electric", "state_law", "guard")
MODELS = "spacecast.models"
TARGETS = {
    "graph_fm": f"{MODELS}.encode_process_decode.EncodeProcessDecode",
    "graph_unet": f"{MODELS}.graph_unet.GraphUNet",
}


def section(name="graph_fm", **content) -> Section:
    """All five keys `auto`."""
    return Section(content={"_target_": TARGETS[name], "_partial_": True, **dict.fromkeys(KEYS, "auto"), **content})


def choices(model: Section) -> tuple:
    """The five keys."""
    return tuple(model.content[key] for key in KEYS)


@pytest.fixture
def frames(tiny_spec) -> list[np.ndarray]:
    """Two frames with an even field, E = -v x B and P = n k T."""
    rng = np.random.default_rng(1)
    found = rng.normal(size=(2, tiny_spec.num_nodes, 12)) + 5
    found[..., :3] = 5, 3, -2
    found[..., 3:6] = -SPEED_TIMES_FIELD * np.cross(found[..., 6:9], found[..., :3])
    found[..., 10] = NKT * found[..., 9] * found[..., 11]
    return list(found.astype(np.float32))


@pytest.fixture
def ranged(tiny_spec):
    """Facts with the range of each variable."""
    shape = tiny_spec.num_nodes, 12
    return replace(tiny_spec, lower=np.zeros(shape, np.float32), upper=np.ones(shape, np.float32))


def without(spec, *names):
    """Facts and the columns of data that lack some variables."""
    kept = [column for column, name in enumerate(spec.state.names) if name not in names]
    pick = lambda values: tuple(values[column] for column in kept)  # noqa: E731
    state = FeatureSpec(pick(spec.state.names), pick(spec.state.units), spec.state.mean[kept], spec.state.std[kept])
    return replace(spec, state=state, diff_mean=spec.diff_mean[kept], diff_std=spec.diff_std[kept]), kept


def test_data_that_obey_the_laws_get_them(ranged, frames, caplog):
    caplog.set_level("INFO")
    assert choices(decided(section(), ranged, frames)) == ("tendencies", "potential", "ideal", "forecasts", 0.1)
    assert [record.getMessage() for record in caplog.records] == [
        "as the data allow: inputs=tendencies, magnetic=potential, electric=ideal, state_law=forecasts, guard=0.1"
    ]


def test_what_is_given_is_left_alone_and_nothing_is_looked_at(ranged):
    given = section(inputs="states", magnetic="free", electric="ideal", state_law="project", guard=None)
    assert decided(given, ranged, ["no frame"]) is given
    found = decided(section(magnetic="free", guard=0.7), ranged, None)
    assert choices(found) == ("tendencies", "free", "ideal", "forecasts", 0.7)


def test_a_hall_term_leaves_the_electric_field_free_and_says_how_large_it_is(ranged, frames, caplog):
    caplog.set_level("INFO")
    frames[1][:, 3:6] *= 1.25  # E + v x B is a fifth of E
    assert choices(decided(section(), ranged, frames))[1:3] == ("potential", "free")
    assert "electric=free (E + v x B is 0.2 of E (rms))" in caplog.text


def test_a_pressure_of_its_own_leaves_the_law_of_gas_out(ranged, frames, caplog):
    caplog.set_level("INFO")
    frames[1][:, 10] *= 1.1  # of which P - n k T is an eleventh
    assert choices(decided(section(), ranged, frames))[1:4] == ("potential", "ideal", "free")
    assert "state_law=free (P - n k T is 0.091 of P (rms))" in caplog.text


def test_a_divergence_leaves_the_magnetic_field_free(ranged, frames, caplog):
    caplog.set_level("INFO")
    x = ranged.grid.positions[:, 0]
    for frame in frames:
        frame[:, 0] = x  # div B = 1
        frame[:, 3:6] = -SPEED_TIMES_FIELD * np.cross(frame[:, 6:9], frame[:, :3])
    assert choices(decided(section(), ranged, frames))[1:3] == ("free", "ideal")
    assert "magnetic=free (div B is 0.3" in caplog.text


def test_a_figure_that_is_no_number_is_no_law(ranged, frames, caplog):
    caplog.set_level("INFO")
    frames[0][5, 0] = np.nan
    assert choices(decided(section(), ranged, frames))[1:3] == ("free", "free")
    assert "electric=free (E + v x B is nan of E (rms))" in caplog.text
    assert choices(decided(section(), ranged, []))[1:4] == ("free", "free", "free")


@pytest.mark.parametrize(("name", "instead"), [("graph_fm", "stencil"), ("graph_unet", "increments")])
def test_data_without_pressure_have_no_tendencies(tiny_spec, frames, name, instead, caplog):
    caplog.set_level("INFO")
    spec, kept = without(tiny_spec, "P")
    found = decided(section(name), spec, [frame[:, kept] for frame in frames])
    assert choices(found) == (instead, "potential", "ideal", "free", None)
    assert f"inputs={instead} (inputs=tendencies needs rho, P, " in caplog.text
    assert "the data have no P)" in caplog.text


def test_data_without_a_component_obey_no_law_of_it(tiny_spec, frames, caplog):
    caplog.set_level("INFO")
    spec, kept = without(tiny_spec, "Bz", "Ex")
    found = decided(section(), spec, [frame[:, kept] for frame in frames])
    assert choices(found) == ("stencil", "free", "free", "forecasts", None)
    assert "magnetic=free (model.magnetic=potential needs Bx and Bz, the data have no Bz)" in caplog.text


def test_statistics_that_hold_no_range_give_no_guard(tiny_spec, frames, caplog):
    caplog.set_level("INFO")
    assert choices(decided(section(), tiny_spec, frames))[4] is None
    assert "guard=null (model.guard needs the range of each variable" in caplog.text


def test_units_are_converted_before_laws_are_looked_at(tiny_spec, frames):
    units = ["T"] * 3 + ["V/m"] * 3 + ["m/s"] * 3 + list(tiny_spec.state.units[9:])
    factors = np.array([1e-9] * 3 + [1e-3] * 3 + [1e3] * 3 + [1] * 3)
    state = FeatureSpec(tiny_spec.state.names, tuple(units), tiny_spec.state.mean, tiny_spec.state.std)
    spec = replace(tiny_spec, state=state)
    found = decided(section(), spec, [frame * factors for frame in frames])
    assert choices(found)[1:4] == ("potential", "ideal", "forecasts")


def test_limits_and_noise_of_the_model_go_before_laws(ranged, frames, caplog):
    caplog.set_level("INFO")
    limited = section(upper={"Ey": 40.0}, lower={"Bx": -900.0})
    assert choices(decided(limited, ranged, frames)) == ("tendencies", "free", "free", "forecasts", 0.1)
    assert "electric=free (Ey has a limit)" in caplog.text
    noisy = Section(content={**section().content, "_target_": f"{MODELS}.graph_efm.GraphEFM", "observation_noise": 0.5})
    assert choices(decided(noisy, ranged, frames)) == ("tendencies", "free", "free", "free", None)


def test_frames_of_a_datastore_of_ones_own_are_read_by_the_protocol(ranged):
    asked = []

    def read_state(run, split, start, stop):
        asked.append((run, split, start, stop))
        return np.zeros((1, ranged.num_nodes, 12), np.float32)

    counts = {"a": 9, "b": 1, "c": 0, "d": 7, "e": 2}
    own = SimpleNamespace(train_runs=tuple(counts), num_frames=lambda run, _: counts[run], read_state=read_state)
    assert len(training_frames(own)) == 5
    assert [(run, start) for run, _, start, _ in asked] == [("a", 0), ("a", 4), ("a", 8), ("e", 0), ("e", 1)]
    assert {(split, stop - start) for _, split, start, stop in asked} == {("train", 1)}


@pytest.mark.parametrize("key", KEYS)
def test_a_model_built_with_auto_is_refused_by_name(tiny_spec, tiny_graph, key):
    for target in TARGETS.values():
        with pytest.raises(UserError, match=rf"model\.{key}=auto is decided by commands.*: give .* or .*decided"):
            build({"_target_": target, "_partial_": True, key: "auto"})(spec=tiny_spec, graph=tiny_graph)


@pytest.mark.parametrize("model_name", ["graph_fm", "graph_efm", "graph_unet", "grid_unet", "graphcast", "keisler"])
def test_every_model_takes_the_word_and_no_other(model_name):
    words = [f"model={model_name}", *(f"model.{key}=auto" for key in KEYS), "paths.run_dir=r"]
    check_config(to_plain(job_part(compose("train", words, conf_dir()))), Train)
    wrong = to_plain(job_part(compose("train", [*words, "model.guard=automatic"], conf_dir())))
    with pytest.raises(UserError, match=r"model.guard: expected a number or 'auto' or null, found 'automatic'"):
        check_config(wrong, Train)


def test_what_was_found_stands_in_for_auto():
    model = dict(section(inputs="states").content)
    known = {"inputs": "tendencies", "magnetic": "potential", "electric": "free", "state_law": "project", "guard": 0.1}
    assert with_choices(model, known) == {**model, **known, "inputs": "states"}
    of_before = with_choices(model, {"inputs": "increments"})  # of a version without the keys
    assert (of_before["inputs"], of_before["magnetic"], of_before["guard"]) == ("states", "free", None)
    assert with_choices(model, None) == model
    assert with_choices(None, known) is None


@pytest.mark.parametrize("name", ["graph_fm_simple", "graph_fm_hierarchical", "graph_efm_multiscale"])
def test_published_models_ask_nothing_of_the_data(name):
    words = [f"experiment=paper/{name}", "datastore.root=DIR", "paths.run_dir=r"]
    model = to_plain(job_part(compose("train", words, conf_dir())))["model"]
    assert tuple(model[key] for key in KEYS) == ("states", "free", "free", "free", None)


def test_simulated_data_are_planned_as_they_are_then_found(small, tiny_data):
    config = typed(completed(COMMAND, compose("train", [*small, "paths.run_dir=r"], conf_dir()), {}), Train)
    datastore = open_prepared(config.datastore)
    found = decided(section("graph_unet"), datastore.spec, training_frames(datastore))
    assert choices(found) == ("tendencies", "potential", "ideal", "forecasts", 0.1)
    assert choices(decided(section("graph_unet"), datastore.spec, None)) == choices(found)


def precision_of(folder: Path) -> str:
    """Recorded for a training."""
    return yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["precision"]


@pytest.mark.slow
def test_a_run_looks_at_the_data_once(run, workplace, small, monkeypatch):
    """Folder, checkpoint, the same command again, its weights in another training and an evaluation: no `auto`."""
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    words = [*small, "paths.run_dir=run"]
    dry = run("spacecast-train", *small, "dry_run=true", "paths.run_dir=dry")
    line = "as the data allow: inputs=tendencies, magnetic=potential, electric=ideal, state_law=forecasts"
    assert (dry.code, dry.out.count(line)) == (0, 1)
    first = run("spacecast-train", *words)
    assert (first.code, first.err, first.out.count(line)) == (0, "", 1)
    recorded = yaml.safe_load((workplace / "run" / "config.yaml").read_text())["model"]
    best = best_precision("auto")
    assert precision_of(workplace / "run") == best
    assert [recorded[key] for key in KEYS] == ["tendencies", "potential", "ideal", "forecasts", None]
    assert load_checkpoint(workplace / "run")["spacecast"]["config"]["model"] == recorded

    def never(*_: object) -> None:
        raise AssertionError("the data were looked at again")

    monkeypatch.setattr("spacecast.app.auto.training_frames", never)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # as if on another machine
    (workplace / "run" / "scores.csv").unlink()  # as if it had been interrupted
    again = run("spacecast-train", *words)
    assert precision_of(workplace / "run") == best
    assert (again.code, again.err, "as the data allow" in again.out) == (0, "", False)
    assert yaml.safe_load((workplace / "run" / "config.yaml").read_text())["model"] == recorded
    for word in ("init_from", "resume"):
        other = run("spacecast-train", *small, f"{word}=run", f"paths.run_dir={word}", "trainer.max_epochs=3")
        assert (other.code, other.err) == (0, "")
        assert yaml.safe_load((workplace / word / "config.yaml").read_text())["model"] == recorded
    scored = run("spacecast-evaluate", "checkpoint=run", "model.magnetic=auto", "logger=none", "paths.run_dir=scores")
    assert (scored.code, scored.err) == (0, "")
    assert yaml.safe_load((workplace / "scores" / "config.yaml").read_text())["model"] == recorded
