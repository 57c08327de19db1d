"""A data folder may have been written by anybody: no function that its files name is called, no pickle is read."""

import json
import pickle
import sys
from pathlib import Path

import numcodecs
import numcodecs.pickles
import pytest
import yaml

from spacecast.core.errors import UserError
from spacecast.data.configs import open_raw
from spacecast.data.prepare import prepare
from spacecast.data.raw import DERIVE, check_functions

HERE = "hostile_functions"


class Writes:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """A file that must not come into being: importing `hostile_functions` makes it."""
    path = tmp_path / "marker"
    (tmp_path / f"{HERE}.py").write_text(f"from pathlib import Path\nPath({str(path)!r}).touch()\nrun = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    sys.modules.pop(HERE, None)


def derive(function, **inputs):
    """A configuration with a derived variable."""
    recipe = {"hour": {"function": function, "kwargs": {"time": "ds_input.time"}}}
    return {"inputs": {"fields": {"path": "run_1.zarr", "derived_variables": recipe, **inputs}}, "output": {}}


NAMES = {
    "a module": f"{HERE}.run",
    "a road": "mllam_data_prep.ops.derive_variable.main.importlib.import_module",
    "a neighbour": "mllam_data_prep.create_dataset.create_dataset_zarr",
    "the shell": "os.system",
    "letters around it": f"{DERIVE[0]} ",
    "no name": None,
    "a list": [DERIVE[0]],
}


@pytest.mark.parametrize("case", NAMES)
def test_functions_of_a_configuration_are_held_against_a_list(case):
    with pytest.raises(UserError, match=r"x: inputs\.fields\.derived_variables\.hour\.function=.* is not called"):
        check_functions(derive(NAMES[case]), "x", ())


def test_known_and_trusted_functions_pass():
    for function in DERIVE:
        check_functions(derive(function), "x", ())
    check_functions(derive("mine.deep.hour"), "x", ("mine",))
    check_functions(derive("mine.hour"), "x", ("mine.hour",))
    with pytest.raises(UserError, match="add trust=mine if you know"):
        check_functions(derive("mine.hour"), "x", ("min", "mine.hou"))


def test_the_known_functions_are_those_of_mllam_data_prep():
    import importlib

    for name in DERIVE:
        module, _, function = name.rpartition(".")
        assert callable(getattr(importlib.import_module(module), function))


def test_another_configuration_is_not_read():
    config = derive(DERIVE[0])
    config["output"]["domain_cropping"] = {"interior_dataset_config_path": "other.yaml"}
    with pytest.raises(UserError, match="names another configuration, which is not read"):
        check_functions(config, "x", ())


def test_preparation_stops_before_anything_is_called(raw_root, marker):
    path = raw_root / "vlasiator_run_1.yaml"
    config = yaml.safe_load(path.read_text())
    config["inputs"]["fields"]["derived_variables"] = derive(f"{HERE}.run")["inputs"]["fields"]["derived_variables"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"run 1: vlasiator_run_1\.yaml: .* add trust=hostile_functions"):
        prepare(raw_root)
    assert not marker.exists()
    assert HERE not in sys.modules
    with pytest.raises(UserError, match="could not prepare it"):
        prepare(raw_root, trusted=[HERE])
    assert marker.exists()


TEXT, PICKLE = {"id": "vlen-utf8"}, {"id": "pickle"}
CODECS = {
    "compressor": {"compressor": PICKLE, "filters": [TEXT]},
    "filter": {"compressor": None, "filters": [TEXT, PICKLE]},
}


@pytest.mark.parametrize("place", CODECS)
def test_a_pickle_in_a_store_is_not_read(tmp_path, monkeypatch, place):
    """Also where the user has let numcodecs read pickles, for other data."""
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    store, marker = tmp_path / "run_1.zarr", tmp_path / "marker"
    (store / "x").mkdir(parents=True)
    (store / ".zgroup").write_text('{"zarr_format": 2}')
    described = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|O", "order": "C", "fill_value": ""}
    (store / "x" / ".zarray").write_text(json.dumps(described | CODECS[place]))
    (store / "x" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["x"]}')
    (store / "x" / "0").write_bytes(pickle.dumps(Writes(marker)))
    with pytest.raises(UserError, match="pickle"):
        open_raw(store, "run 1")
    assert not marker.exists()
    monkeypatch.setitem(numcodecs.registry.codec_registry, "pickle", numcodecs.pickles.Pickle)
    with pytest.raises((TypeError, ValueError, AttributeError, UserError)):
        open_raw(store, "run 1")
    assert marker.exists()  # as it would without
