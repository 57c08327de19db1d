"""Checkpoints of the reference are read; nothing in them is ever executed or imported."""

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch

from spacecast.checkpoint.archive import check_whole
from spacecast.checkpoint.reference_file import is_reference_checkpoint, read_reference_checkpoint
from spacecast.core.errors import UserError

CONFIG = "neural_lam.config"


def write(path, foreign, model="graphcast", state_dict=None, **arguments):
    """A checkpoint like those of the reference."""
    clamping = foreign.OutputClamping(lower={"rho": 0, "vz": -60}, upper={"vz": 90.5})
    weighting = foreign.ManualStateFeatureWeighting(weights={"Bx": 1, "rho": 2.0})
    config = foreign.NeuralLAMConfig(
        datastore=foreign.DatastoreSelection(kind="mdp", config_path="x.yaml"),
        training=foreign.TrainingConfig(state_feature_weighting=weighting, output_clamping=clamping),
    )
    if state_dict is None:
        state_dict = OrderedDict({"output_map.2.bias": torch.arange(3.0), "g2m_gnn.edge_mlp.0.weight": torch.eye(4).T})
    content = {
        "epoch": 7,
        "state_dict": state_dict,
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"betas": (0.9, 0.95)}]}],
        "hyper_parameters": {"args": argparse.Namespace(model=model, **arguments), "config": config},
    }
    torch.save(content, path)
    for name in ("neural_lam", CONFIG):
        sys.modules.pop(name)
    return path


def test_everything_is_inferred_from_the_file(tmp_path, foreign):
    arguments = {"hidden_dim": 4, "processor_layers": 2, "vertical_propnets": 0, "mesh_aggr": "mean"}
    path = write(tmp_path / "last.ckpt", foreign, extra={1, 2}, number=np.float64(3), **arguments)
    assert is_reference_checkpoint(path)
    found = read_reference_checkpoint(path)
    assert found["model"] == "graphcast"
    assert found["epochs"] == 8
    keywords = found["hyper_parameters"]
    assert keywords["lower"] == {"rho": 0.0, "vz": -60.0}
    assert keywords["upper"] == {"vz": 90.5}
    assert (keywords["hidden_dim"], keywords["processor_layers"], keywords["hidden_layers"]) == (4, 2, 1)
    assert (keywords["vertical"], keywords["aggregation"]) == ("interaction", "mean")
    assert (found["graph"], found["loss"]["variable_weights"]) == ("multiscale", {"Bx": 1.0, "rho": 2.0})
    assert found["datastore"] == {"statistics": "stored", "forcing_past": 0, "forcing_future": 0}
    torch.testing.assert_close(found["state_dict"]["output.2.bias"], torch.arange(3.0))
    torch.testing.assert_close(found["state_dict"]["encoder.edge_mlp.0.weight"], torch.eye(4))
    assert "neural_lam" not in sys.modules


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.int64])
def test_tensors_of_every_kind_and_layout(tmp_path, foreign, dtype):
    base = torch.arange(24).to(dtype).reshape(4, 6)
    tensors = {"view": base[1:3, ::2], "turned": base.T, "scalar": base[0, 1], "empty": base[:0], "same": base}
    named = {f"output_map.{number}.{name}": value for number, (name, value) in enumerate(tensors.items())}
    path = write(tmp_path / "last.ckpt", foreign, state_dict={"output_map.9.bias": torch.zeros(3), **named})
    found = read_reference_checkpoint(path)["state_dict"]
    for number, (name, value) in enumerate(tensors.items()):
        assert torch.equal(found[f"output.{number}.{name}"], value)


@pytest.mark.parametrize(
    ("folder", "model", "layers"),
    [
        ("graph_fm_simple", "graphcast", 2),
        ("graph_fm_multiscale", "graphcast", 2),
        ("graph_fm_hierarchical", "graph_fm", 2),
        ("graph_efm_simple", "graph_efm", 2),
    ],
)
def test_trained_checkpoints_fill_our_models(
    reference_dir, folder, model, layers, reference_spec, reference_graph, build_reference
):
    path = reference_dir / "trained" / folder / "last.ckpt"
    assert is_reference_checkpoint(path)
    found = read_reference_checkpoint(path)
    assert found["model"] == model
    assert found["hyper_parameters"]["processor_layers"] == layers
    assert found["hyper_parameters"]["decode_dim"] == 8
    graph = reference_graph(found["graph"])
    build_reference(model, reference_spec(), graph, found["hyper_parameters"], found["state_dict"])


@pytest.mark.parametrize("kind", ["meta", "sparse"])
def test_parameters_without_numbers_are_refused(tmp_path, foreign, kind):
    odd = torch.zeros(3, device="meta") if kind == "meta" else torch.zeros(3).to_sparse()
    path = write(tmp_path / "last.ckpt", foreign, state_dict={"output_map.2.bias": odd})
    with pytest.raises(UserError, match="holds parameters without their numbers"):
        read_reference_checkpoint(path)


def test_our_own_checkpoints_are_not_the_references(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(2)}, "spacecast": {"version": "1"}}, tmp_path / "own.ckpt")
    assert not is_reference_checkpoint(tmp_path / "own.ckpt")
    assert not is_reference_checkpoint(tmp_path / "missing.ckpt")


# --- hostile files -----------------------------------------------------------------------------------------------


def archive(path, data, folder="last", compression=zipfile.ZIP_STORED, extra=()):
    """A zip file with a given pickle."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{folder}/data.pkl" if folder else "data.pkl", data)
        file.writestr(f"{folder}/byteorder", "little")
        file.writestr(f"{folder}/version", "3\n")
        for name, content in extra:
            file.writestr(name, content)
    return path


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def wrapped(bad, protocol=2):
    """A checkpoint's pickle with something bad in its arguments."""
    arguments = argparse.Namespace(model="graphcast", bad=bad)
    return pickle.dumps({"hyper_parameters": {"args": arguments}, "state_dict": {}}, protocol=protocol)


def in_storage(bad):
    """A tensor whose storage has something bad as its key."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", bad, "0", "cpu", 4) if isinstance(obj, torch.Tensor) else None

    buffer = io.BytesIO()
    namespace = argparse.Namespace(model="graphcast")
    Pickler(buffer, protocol=2).dump({"state_dict": {"w": torch.zeros(4)}, "hyper_parameters": {"args": namespace}})
    return buffer.getvalue()


def tensor_pickle(storage=b"", offset=b"K\x00", shape=b"K\x04\x85", stride=b"K\x01\x85"):
    """A checkpoint with one tensor, byte by byte."""
    storage = storage or b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + shape + stride + b"\x89}tR"
    arguments = b"cargparse\nNamespace\n)\x81}X\x05\x00\x00\x00modelX\x09\x00\x00\x00graphcastsb"
    text = {name: b"X" + struct.pack("<I", len(name)) + name.encode() for name in
            ("state_dict", "output_map.2.bias", "hyper_parameters", "args")}
    return (
        b"\x80\x02}" + text["state_dict"] + b"}" + text["output_map.2.bias"] + tensor + b"ss"
        + text["hyper_parameters"] + b"}" + text["args"] + arguments + b"ss."
    )  # fmt: skip


def system(marker):
    return Call(os.system, f"touch {marker}")


ATTACKS = {
    "os.system": lambda m: wrapped(system(m)),
    "os.system, protocol 0": lambda m: wrapped(system(m), 0),
    "os.system, protocol 4": lambda m: wrapped(system(m), 4),
    "eval": lambda m: wrapped(Call(eval, f"open({str(m)!r}, 'w')")),
    "exec": lambda m: wrapped(Call(exec, f"open({str(m)!r}, 'w')")),
    "open": lambda m: wrapped(Call(open, str(m), "w")),
    "subprocess": lambda m: wrapped(Call(subprocess.Popen, ["touch", str(m)])),
    "getattr": lambda m: wrapped(Call(getattr, "x", "upper")),
    "torch.load": lambda m: wrapped(Call(torch.load, str(m))),
    "a path": lambda m: wrapped(m),
    "inside a key": lambda m: b"\x80\x02}cos\nsystem\nX\x04\x00\x00\x00true\x85RK\x01s.",
    "inside a storage": lambda m: in_storage(system(m)),
    "a storage that is a number": lambda m: in_storage(3),
    "as a list of unhashable keys": lambda m: b"\x80\x02}]K\x01s.",
    "as a key, tuples within tuples": lambda m: b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.",
    "the same, kept in the memo": lambda m: b"\x80\x02})" + b"\x85q\x00" * 500_000 + b"K\x01s.",
    "OBJ": lambda m: b"(cos\nsystem\nX" + struct.pack("<I", len(f"touch {m}")) + f"touch {m}".encode() + b"o.",
    "INST": lambda m: f"(S'touch {m}'\nios\nsystem\n.".encode(),
    "NEWOBJ_EX": lambda m: b"\x80\x04cos\nsystem\n)}\x92.",
    "EXT1": lambda m: b"\x80\x02\x82\x01.",
    "BUILD of a class": lambda m: b"\x80\x02cneural_lam.config\nX\n}X\x01\x00\x00\x00aK\x01sb.",
    "BUILD of a list": lambda m: b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.",
    "a call of a result": lambda m: b"\x80\x02cneural_lam.config\nX\n)\x81)R.",
    "persistent id of a string": lambda m: b"\x80\x02X\x03\x00\x00\x00abcQ.",
    "a memo that would fill the memory": lambda m: b"\x80\x02Nr\xff\xff\xff\x7f0.",
    "an unknown opcode": lambda m: b"\x80\x02\xff.",
    "no end": lambda m: b"\x80\x02}",
    "nothing": lambda m: b"",
    "empty stack": lambda m: b"\x80\x02R.",
    "a string that is longer than the file": lambda m: b"\x80\x02X\xff\xff\xff\x7fabc.",
    "not a dictionary": lambda m: b"\x80\x02K\x01.",
    "negative offset": lambda m: tensor_pickle(offset=b"J\xff\xff\xff\xff"),
    "offset beyond the storage": lambda m: tensor_pickle(offset=b"K\x02"),
    "stride beyond the storage": lambda m: tensor_pickle(stride=b"K\x09\x85"),
    "shape and stride of unlike length": lambda m: tensor_pickle(stride=b"K\x01K\x01\x86"),
    "shape of strings": lambda m: tensor_pickle(shape=b"X\x01\x00\x00\x004\x85"),
    "a tensor without a storage": lambda m: tensor_pickle(storage=b"K\x01"),
}


def refused(path, marker):
    """Refused in one line, without a trace."""
    is_reference_checkpoint(path)
    with pytest.raises(UserError) as caught:
        read_reference_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_hostile_and_damaged_pickles_are_refused(tmp_path, attack):
    marker = tmp_path / "executed"
    data = attack(marker)
    refused(archive(tmp_path / "last.ckpt", data, extra=[("last/data/0", bytes(16))]), marker)


@pytest.mark.parametrize(
    ("call", "name"), [(Call(os.system, "true"), f"{os.system.__module__}.system"), (Call(eval, "1"), "builtins.eval")]
)
def test_what_a_hostile_file_would_call_is_said(tmp_path, call, name):
    path = archive(tmp_path / "last.ckpt", wrapped(call))
    with pytest.raises(UserError, match=rf"holds more than tensors and plain values \({name}\) and is refused"):
        read_reference_checkpoint(path)


def test_a_name_alone_does_no_harm(tmp_path, foreign):
    """Nothing is made of it, neither here nor in the types of a container."""
    named = {"loss": torch.nn.MSELoss, "counts": defaultdict(list, {"a": [1]}), "kinds": {"b", "a"}}
    found = read_reference_checkpoint(write(tmp_path / "last.ckpt", foreign, **named))["arguments"]
    assert (found["counts"], found["kinds"]) == ({"a": [1]}, {"a", "b"})
    assert found["loss"] is not torch.nn.MSELoss


@pytest.mark.parametrize("cls", [defaultdict, Call])
def test_what_other_libraries_let_torch_make_makes_no_difference(tmp_path, foreign, cls):
    named = {"counts": defaultdict(list, {"a": [1]})}
    path = write(tmp_path / "last.ckpt", foreign, **named)
    with torch.serialization.safe_globals([cls]):
        assert read_reference_checkpoint(path)["arguments"]["counts"] == {"a": [1]}
        refused(archive(tmp_path / "call.ckpt", wrapped(Call(Call, print))), tmp_path / "executed")
        assert cls in torch.serialization.get_safe_globals()


def test_the_pickle_by_hand_is_sound_when_nothing_is_wrong(tmp_path):
    path = archive(tmp_path / "last.ckpt", tensor_pickle(), extra=[("last/data/0", struct.pack("<4f", 1, 2, 3, 4))])
    assert read_reference_checkpoint(path)["state_dict"]["output.2.bias"].tolist() == [1, 2, 3, 4]


ARCHIVES = {
    "two pickles": {"extra": [("other/data.pkl", b"\x80\x02}.")]},
    "the same file twice": {"extra": [("last/data.pkl", b"\x80\x02}."), ("last/data/0", bytes(16))]},
    "no folder": {"folder": ""},
    "compressed": {"compression": zipfile.ZIP_DEFLATED, "extra": [("last/data/0", bytes(16))]},
    "storage missing": {},
    "storage too small": {"extra": [("last/data/0", bytes(12))]},
    "storage too large": {"extra": [("last/data/0", bytes(1600))]},
    "a program": {"extra": [("last/data/0", bytes(16)), ("last/constants.pkl", b"\x80\x02).")]},
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("layout", ARCHIVES.values(), ids=ARCHIVES.keys())
def test_archives_that_torch_does_not_write_are_refused(tmp_path, layout):
    refused(archive(tmp_path / "last.ckpt", tensor_pickle(), **layout), tmp_path / "executed")


def test_bytes_that_were_changed_or_cut_are_refused(tmp_path):
    path = archive(tmp_path / "last.ckpt", tensor_pickle(), extra=[("last/data/0", bytes(16))])
    good = path.read_bytes()
    position = good.index(b"FloatStorage")
    for bad in (good[:100], good[: len(good) // 2], b"", good[:position] + b"X" + good[position + 1 :]):
        path.write_bytes(bad)
        refused(path, tmp_path / "executed")


def test_a_pickle_of_an_archive_that_is_refused_is_not_read(tmp_path, monkeypatch):
    """One that is compressed may be far larger than its file."""
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("it was read"))
    path = archive(tmp_path / "last.ckpt", bytes(2**20), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match=r"'last/data.pkl' in it is damaged"):
        check_whole(path)


def test_a_bare_pickle_is_refused(tmp_path):
    marker = tmp_path / "executed"
    path = tmp_path / "last.ckpt"
    path.write_bytes(pickle.dumps(system(marker)))
    refused(path, marker)


def test_a_package_of_the_references_name_is_not_imported(tmp_path, foreign, monkeypatch):
    path = write(tmp_path / "last.ckpt", foreign, hidden_dim=4)
    package = tmp_path / "neural_lam"
    package.mkdir()
    marker = tmp_path / "executed"
    (package / "__init__.py").write_text(f"open({str(marker)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    read_reference_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "hilam"}, "model 'hilam', which is not read here"),
        ({"hidden_dim": "wide"}, "invalid literal"),
        ({"hidden_dim": [4]}, "int"),
    ],
)
def test_senseless_arguments_are_refused(tmp_path, foreign, arguments, message):
    path = write(tmp_path / "last.ckpt", foreign, **arguments)
    with pytest.raises(UserError, match=message):
        read_reference_checkpoint(path)


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("graphcast", {"output_map.2.bias": torch.tensor(1.0)}),
        ("graph_efm", {"decoder.param_map.2.bias": torch.zeros(2)}
         | dict.fromkeys(["grid_prev_embedder.0.weight", "grid_current_embedder.0.weight"], torch.tensor(1.0))),
    ],
)  # fmt: skip
def test_parameters_of_senseless_shapes_are_refused(tmp_path, foreign, model, parameters):
    path = write(tmp_path / "last.ckpt", foreign, model, parameters)
    with pytest.raises(UserError, match=f"{path}: "):
        read_reference_checkpoint(path)


def test_missing_file_and_other_checkpoints(tmp_path):
    with pytest.raises(UserError, match="there is no checkpoint"):
        read_reference_checkpoint(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no hyper-parameters of the reference"):
        read_reference_checkpoint(tmp_path / "other.ckpt")
