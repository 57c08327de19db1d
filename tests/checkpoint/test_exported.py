"""A model as a folder: the same when it is read again, refused by name when it is not what was written."""

import hashlib
import json
import pickle
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spacecast.checkpoint.content import describe, find_checkpoint, load_checkpoint, model_weights
from spacecast.checkpoint.exported import CARD, CONFIG, DATA, SUMS, WEIGHTS, replaceable, write_exported
from spacecast.core.errors import UserError
from spacecast.core.grid import Grid
from spacecast.core.spec import DataSpec, FeatureSpec
from spacecast.graphs.stored import StoredGraph
from spacecast.models.encode_process_decode import EncodeProcessDecode
from spacecast.models.graph_efm import GraphEFM

SIZES = {"hidden_dim": 8, "processor_layers": 1}
MODELS = {"fm": (EncodeProcessDecode, SIZES), "efm": (GraphEFM, {**SIZES, "latent_dim": 4, "encoder_layers": 1})}
GRAPH = {"_target_": "spacecast.graphs.builders.MeshGraphBuilder", "layout": "simple"}
STORED = {"_target_": "spacecast.graphs.stored.StoredGraph", "path": "graph"}


def described(spec, mesh, **sections) -> dict:
    """Entry of a checkpoint with a small configuration."""
    config = {"model": {"_target_": "spacecast.models.persistence.Persistence", "_partial_": True}, "graph": GRAPH}
    return describe({**config, **sections}, spec, mesh)


@pytest.fixture(params=MODELS)
def model(request, tiny_spec, tiny_graph) -> torch.nn.Module:
    torch.manual_seed(3)
    kind, keywords = MODELS[request.param]
    return kind(tiny_spec, tiny_graph, **keywords)


@pytest.fixture
def folder(tmp_path, tiny_spec, tiny_graph) -> Path:
    """An exported model of one weight."""
    return write_exported(
        tmp_path / "model", {"w": torch.arange(6.0)}, described(tiny_spec, tiny_graph), {CARD: b"# model\n"}
    )


def signed(folder: Path, *names: str) -> Path:
    """The folder with check sums that fit what is in it now, as somebody who means harm would leave it."""
    lines = [line.split() for line in (folder / SUMS).read_text().splitlines()]
    listed = dict.fromkeys([*(name for _, name in lines), *names])
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
    (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return folder


def changed(folder: Path, change) -> Path:
    """The folder with another `config.json`: `change` is called with its content."""
    content = json.loads((folder / CONFIG).read_text())
    change(content)
    (folder / CONFIG).write_text(json.dumps(content))
    return signed(folder)


# --- what is written ---------------------------------------------------------------------------------------------


def test_weights_and_facts_are_the_same_bit_for_bit(tmp_path, model, tiny_spec, tiny_graph):
    entry = described(tiny_spec, tiny_graph)
    folder = write_exported(tmp_path / "model", model.state_dict(), entry, {})
    assert find_checkpoint(folder) == folder / WEIGHTS
    for path in (folder, folder / WEIGHTS):
        content = load_checkpoint(path)
        weights = model_weights(content)
        assert weights.keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert weights[name].dtype == value.dtype
            assert torch.equal(weights[name], value)
        own = content["spacecast"]
        for key in ("format", "versions", "parent"):
            assert own[key] == entry[key]
        assert own["graph"]["hash"] == tiny_graph.content_hash
        assert {**own["config"], "paths": None} == {**entry["config"], "paths": None}
        same_entries(own["data_spec"], entry["data_spec"])
    other = type(model)(tiny_spec, tiny_graph, **MODELS["fm" if isinstance(model, EncodeProcessDecode) else "efm"][1])
    other.load_state_dict(weights)


def same_entries(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            same_entries(found[key], value)
        elif isinstance(value, torch.Tensor):
            assert found[key].dtype == value.dtype
            assert torch.equal(found[key], value)
        else:
            assert found[key] == value


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_weights_of_any_type_that_share_memory_or_are_no_rows(tmp_path, tiny_spec, tiny_graph, dtype):
    matrix = torch.arange(6).reshape(2, 3).to(dtype)
    weights = {"a": matrix, "b": matrix, "c": matrix.T, "d": matrix[:, 1], "scalar": matrix[1, 2]}
    folder = write_exported(tmp_path / "model", weights, described(tiny_spec, tiny_graph), {})
    found = model_weights(load_checkpoint(folder))
    for name, value in weights.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], value)


def test_a_spec_of_three_axes_and_forcing(tmp_path, tiny_graph, tiny_spec):
    x, y, z = (np.linspace(-8.0, 8.0, count) for count in (5, 4, 3))
    grid = Grid({"x": x, "y": y, "z": z}, np.ones((5, 4, 3), dtype=bool))
    spec = replace(
        tiny_spec,
        grid=grid,
        forcing=FeatureSpec(("wind",), ("km/s",), np.array([400.0]), np.array([50.0])),
        static_values=np.zeros((60, 3), dtype=np.float32),
        boundary=np.arange(60) < 3,
        lower=np.full((60, 12), -1.0, dtype=np.float32),
        upper=np.arange(720, dtype=np.float32).reshape(60, 12),
    )
    folder = write_exported(tmp_path / "model", {}, described(spec, tiny_graph), {})
    found = DataSpec.from_dict(load_checkpoint(folder)["spacecast"]["data_spec"])
    assert found.grid.axes == ("x", "y", "z")
    assert (found.forcing.names, found.forcing.units) == (("wind",), ("km/s",))
    for name in ("boundary", "lower", "upper"):
        np.testing.assert_array_equal(getattr(found, name), getattr(spec, name))


def test_nothing_in_the_folder_is_pickled(folder):
    for path in folder.iterdir():
        with pytest.raises((pickle.UnpicklingError, ValueError, KeyError, EOFError, IndexError, UnicodeDecodeError)):
            pickle.loads(path.read_bytes())


def test_the_folder_appears_whole_or_not_at_all(folder, tiny_spec, tiny_graph):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileNotFoundError):
        write_exported(folder, {}, described(tiny_spec, tiny_graph), {"scores.csv": folder / "nowhere"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    write_exported(folder, {"w": torch.zeros(1)}, described(tiny_spec, tiny_graph), {})
    assert model_weights(load_checkpoint(folder))["w"].tolist() == [0.0]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_card_may_be_edited(folder):
    (folder / CARD).write_text("# a better one\n")
    load_checkpoint(folder)
    assert replaceable(folder)
    (folder / ".git").mkdir()
    assert not replaceable(folder)


def test_a_configuration_that_json_would_change_is_refused(tmp_path, tiny_spec, tiny_graph):
    entry = described(tiny_spec, tiny_graph, loss={"_target_": "a", "weights": {1: 2.0}})
    with pytest.raises(UserError, match="keys that are no text"):
        write_exported(tmp_path / "model", {}, entry, {})


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [CONFIG, DATA, WEIGHTS, SUMS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"no (checkpoint at|{name})"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", [CONFIG, DATA, WEIGHTS])
@pytest.mark.parametrize("cut", [0, 1, 9, -1])
def test_a_truncated_file_is_named_whether_or_not_its_check_sum_fits(folder, name, cut):
    (folder / name).write_bytes((folder / name).read_bytes()[:cut])
    with pytest.raises(UserError, match=rf"{name} is damaged"):
        load_checkpoint(folder)
    if (name, cut) != (CONFIG, -1):  # that was the end of its last line
        with pytest.raises(UserError, match=rf"{name} (cannot be read|is no JSON)"):
            load_checkpoint(signed(folder))


@pytest.mark.parametrize("name", [CONFIG, DATA, WEIGHTS])
def test_one_bit_is_found(folder, name):
    data = bytearray((folder / name).read_bytes())
    data[-2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=rf"{name} is damaged: its check sum is not the one in {SUMS}"):
        load_checkpoint(folder)


def test_a_file_that_no_check_sum_is_known_of(folder):
    (folder / SUMS).write_text("")
    with pytest.raises(UserError, match=rf"{SUMS} does not list {CONFIG}"):
        load_checkpoint(folder)


HEADERS = {
    "longer than the file": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": struct.pack("<Q", 2) + b"[[",
    "tensors beyond the end": struct.pack("<Q", 62)
    + json.dumps({"w": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}).encode().ljust(62),
    "a shape that is larger than its bytes": struct.pack("<Q", 72)
    + json.dumps({"w": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 8]}}).encode().ljust(72)
    + bytes(8),
    "an unknown type": struct.pack("<Q", 64)
    + json.dumps({"w": {"dtype": "PY", "shape": [1], "data_offsets": [0, 4]}}).encode().ljust(64)
    + bytes(4),
    "a pickle": pickle.dumps({"w": 1}),
}


@pytest.mark.parametrize("hostile", HEADERS)
@pytest.mark.parametrize("name", [WEIGHTS, DATA])
def test_a_hostile_file_of_tensors(folder, name, hostile):
    (folder / name).write_bytes(HEADERS[hostile])
    with pytest.raises(UserError, match=rf"{name} cannot be read as safetensors"):
        load_checkpoint(signed(folder))


SPEC_FAULTS = {
    "a lacking array": (lambda found: found.pop("state.mean"), "state.mean"),
    "too few means": (lambda found: found.update({"state.mean": torch.zeros(3)}), "mean of 12 variables has shape"),
    "too few increments": (lambda found: found.update(diff_std=torch.ones(3)), r"diff_std has the shape \(3,\)"),
    "another mask": (lambda found: found.update({"grid.valid": torch.ones(2, 2, dtype=torch.bool)}), "mask of shape"),
    "a mask of numbers": (lambda found: found.update({"grid.valid": found["grid.valid"].float()}), "something else"),
    "no grid": (lambda found: found.update({"grid.x": torch.zeros(12)}), "not uniformly ascending"),
    "ranges of other nodes": (lambda found: found.update(lower=torch.zeros(3, 12)), r"lower has the shape \(3, 12\)"),
    "another boundary": (lambda found: found.update(boundary=found["boundary"][1:]), "boundary has the shape"),
    "fewer features": (lambda found: found.update(static_values=found["static_values"][:, 1:]), "static_values"),
    "no number": (lambda found: found["state.std"].fill_(float("nan")), r"state\.std holds something else"),
    "no deviation": (lambda found: found["state.std"].fill_(0.0), r"state\.std holds something else"),
    "a negative one": (lambda found: found["diff_std"].mul_(-1.0), "diff_std holds something else"),
    "an axis too many": (lambda found: found.update({"grid.x": torch.zeros(12, 1)}), "grid coordinate x"),
}


def test_a_name_given_twice_is_refused(folder):
    content = json.loads((folder / CONFIG).read_text())
    names = content["data"]["state"]["names"]
    names[1] = names[0]
    (folder / CONFIG).write_text(json.dumps(content))
    with pytest.raises(UserError, match="names of state holds something else than it should"):
        load_checkpoint(signed(folder))


@pytest.mark.parametrize("fault", SPEC_FAULTS)
def test_arrays_that_do_not_fit_are_named(folder, fault):
    change, message = SPEC_FAULTS[fault]
    arrays = {name: value.clone() for name, value in load_file(folder / DATA).items()}
    change(arrays)
    save_file({name: value.contiguous() for name, value in arrays.items()}, folder / DATA)
    with pytest.raises(UserError, match=message):
        load_checkpoint(signed(folder))


CONFIG_FAULTS = {
    "nothing": (lambda found: found.clear(), "describes no model of spacecast"),
    "no format": (lambda found: found.pop("format"), "is not a checkpoint of spacecast"),
    "a newer format": (lambda found: found.update(format=99), "newer than this one: upgrade spacecast"),
    "no data": (lambda found: found.pop("data"), "describe no data"),
    "data of another kind": (lambda found: found.update(data=[1]), "describe no data"),
    "no unit": (lambda found: found["data"]["state"]["units"].pop(), "units of state"),
    "an axis of another name": (lambda found: found["data"].update(axes=["x", "../z"]), "describe no data"),
    "no step": (lambda found: found["data"].update(step_seconds=0), "step_seconds"),
    "no graph": (lambda found: found.pop("graph"), "does not say which mesh graph"),
    "a graph of another kind": (lambda found: found.update(graph={"hash": 1}), "does not say which mesh graph"),
    "no configuration": (lambda found: found.update(config=[1]), "holds no configuration"),
    "a graph that is not there": (lambda found: found["config"].update(graph=STORED), "has no folder graph"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_a_configuration_that_says_something_else(folder, fault):
    change, message = CONFIG_FAULTS[fault]
    with pytest.raises(UserError, match=message):
        load_checkpoint(changed(folder, change))


@pytest.mark.parametrize("path", ["/etc", "../..", "a/../../b", "~/data", "file:///etc"])
@pytest.mark.parametrize(("section", "key"), [("datastore", "root"), ("simulation", "root"), ("graph", "path")])
def test_a_path_that_leads_out_of_the_folder(folder, section, key, path):
    def change(found):
        found["config"][section] = {"_target_": "a.B", key: path}

    with pytest.raises(UserError, match=rf"{section}\.{key}=.* leads out of the folder; refused"):
        load_checkpoint(changed(folder, change))


def test_names_in_the_list_of_check_sums_are_never_opened(folder):
    text = (folder / SUMS).read_text()
    (folder / SUMS).write_text(f"{'0' * 64}  ../../secret\n{'0' * 64}  /etc/passwd\nnonsense\n{text}")
    load_checkpoint(folder)


@pytest.mark.parametrize("name", [CONFIG, SUMS])
def test_text_without_end_is_not_read(folder, name):
    with (folder / name).open("r+b") as stream:
        stream.truncate(5_000_000)
    with pytest.raises(UserError, match=r"has 5000000 bytes, more than any"):
        load_checkpoint(folder)


def test_a_configuration_nested_without_end(folder):
    (folder / CONFIG).write_text("[" * 200_000)
    with pytest.raises(UserError, match="is no JSON"):
        load_checkpoint(signed(folder))
    deep: dict = {}
    for _ in range(60):
        deep = {"a": deep}
    with pytest.raises(UserError, match="nested too deeply"):
        load_checkpoint(changed(recovered(folder), lambda found: found["config"].update(model=deep)))


def recovered(folder: Path) -> Path:
    """The folder with a `config.json` that is read again."""
    spec = {"axes": ["x", "z"], "step_seconds": 10.0, "data_hash": ""}
    arrays = load_file(folder / DATA)
    for name in ("state", "static", "forcing"):
        count = len(arrays[f"{name}.mean"])
        spec[name] = {"names": [f"v{number}" for number in range(count)], "units": ["1"] * count}
    content = {"format": 2, "versions": {"spacecast": "1"}, "config": {}, "graph": {"hash": "a"}, "data": spec}
    (folder / CONFIG).write_text(json.dumps(content))
    load_checkpoint(signed(folder))
    return folder


# --- a graph of files --------------------------------------------------------------------------------------------


def test_files_of_a_graph_come_along_and_are_held_against_their_check_sums(
    tmp_path, tiny_spec, tiny_hierarchy, write_graph
):
    source = write_graph(tiny_hierarchy, tmp_path / "source")
    files = {f"graph/{path.name}": path for path in source.glob("*.pt")}
    entry = described(tiny_spec, tiny_hierarchy, graph=STORED)
    folder = write_exported(tmp_path / "model", {}, entry, files)
    before = StoredGraph(source).build(tiny_spec.grid)
    shutil.rmtree(source)
    moved = folder.rename(tmp_path / "elsewhere")
    config = load_checkpoint(moved)["spacecast"]["config"]
    assert config["graph"]["path"] == str(moved / "graph")
    found = StoredGraph(config["graph"]["path"]).build(tiny_spec.grid)
    assert found.content_hash == before.content_hash
    (moved / "graph" / "more.pt").write_bytes(b"something")
    with pytest.raises(UserError, match=rf"{SUMS} does not list graph/more\.pt"):
        load_checkpoint(moved)
    (moved / "graph" / "more.pt").unlink()
    (moved / "graph" / "g2m_features.pt").write_bytes(b"something")
    with pytest.raises(UserError, match=r"graph/g2m_features\.pt is damaged"):
        load_checkpoint(moved)
