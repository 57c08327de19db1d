"""What comes out of a file calls nothing that its user has not allowed, and reads no environment."""

import copy
import itertools
import pickle
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from spacecast.app.assemble import build_model, open_data, open_graph
from spacecast.app.evaluate import complete
from spacecast.app.import_checkpoint import complete_import
from spacecast.app.run_records import tracking_id
from spacecast.app.start import find_start
from spacecast.app.train import COMMAND as TRAIN
from spacecast.checkpoint.content import describe, load_checkpoint
from spacecast.config.build import build
from spacecast.config.complete import completed
from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.config.schema import LoggerSection, Paths, Train, typed
from spacecast.config.trust import Trust, plain_values, trusted_words
from spacecast.core.errors import UserError
from spacecast.process.run_folder import write_config
from spacecast.sweep.saved import read_config

HERE, SECRET = "hostile_module", "do-not-tell"
GRID_TO_MESH = "spacecast.graphs.builders.MeshGraphBuilder"
MODEL = "spacecast.models.persistence.Persistence"


class Writes:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that must not come into being: importing or calling `hostile_module` makes it, so does a pickle."""
    path = tmp_path / "marker"
    folder = tmp_path / "modules"
    folder.mkdir()
    made = f"import os\nfrom pathlib import Path\nPath({str(path)!r}).touch()\n"
    (folder / f"{HERE}.py").write_text(f"{made}def run(**_): ...\n")
    (tmp_path / "values.pickle").write_bytes(pickle.dumps(Writes(path)))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("SPACECAST_SECRET", SECRET)
    yield path
    sys.modules.pop(HERE, None)


@pytest.fixture(scope="module")
def content(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A checkpoint of persistence on the tiny data, as a training writes it."""
    words = [
        f"paths.data_dir={tiny_data}", f"paths.run_dir={tmp_path_factory.mktemp('run')}",
        "model=persistence", "trainer=cpu", "data.val_steps=2", "evaluation.steps=2", "evaluation.examples=0",
    ]  # fmt: skip
    plain = completed(TRAIN, compose("train", words, conf_dir()), {}) | {"simulation": None}
    config = typed(plain, Train)
    datastore = open_data(config)
    graph = open_graph(config.graph, datastore.spec.grid, config.paths.data_dir)
    model = build_model(config.model, config.seed, datastore.spec, graph)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    return {"state_dict": weights, "spacecast": describe(plain, datastore.spec, graph)}


@pytest.fixture(scope="module")
def composed(tiny_data: Path) -> dict[str, Any]:
    """The configuration of an evaluation before the checkpoint is looked at."""
    cfg = job_part(compose("evaluate", [f"paths.data_dir={tiny_data}", "checkpoint=none"], conf_dir()))
    return to_plain(cfg)


@pytest.fixture
def stored(content: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Writes the checkpoint with another configuration, and gives its path."""

    def write(change: Callable[[dict[str, Any]], None], facts: Callable[[dict[str, Any]], None] | None = None) -> Path:
        altered = {**content, "spacecast": copy.deepcopy(content["spacecast"])}
        change(altered["spacecast"]["config"])
        if facts is not None:
            facts(altered["spacecast"])
        torch.save(altered, tmp_path / "given.ckpt")
        return tmp_path / "given.ckpt"

    return write


def put(place: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets one key of a configuration, `a.b.c`; sections on the way are made."""

    def change(config: dict[str, Any]) -> None:
        *path, last = place.split(".")
        for name in path:
            config = config.setdefault(name, {})
        config[last] = value

    return change


CALL = {"_target_": f"{HERE}.run"}
LOOP: list[Any] = []
LOOP.append({"again": LOOP})
DEEP: Any = 1
for _ in range(60):
    DEEP = [DEEP, DEEP]

HOSTILE = {
    "a pickle": put("graph", {"_target_": "pandas.read_pickle", "filepath_or_buffer": "values.pickle"}),
    "a file": put("graph", {"_target_": "numpy.savetxt", "fname": "marker", "X": [[1.0]]}),
    "roads of ours": put("graph", {"_target_": "spacecast.core.grid.np.savetxt", "fname": "marker", "X": [[1.0]]}),
    "roads of ours, a class": put("graph._target_", f"{GRID_TO_MESH}.__init__.__globals__"),
    "roads of ours, a module": put("graph._target_", "spacecast.config.trust.locate"),
    "roads of torch": put("optimizer._target_", "torch.optim.adamw.torch.load"),
    "no optimiser": put("optimizer._target_", "torch.optim.lr_scheduler.LambdaLR"),
    "another module of torch": put("optimizer._target_", "torch.hub.load"),
    "a key of a section": put("model.encoder", CALL),
    "a key far down": put("evaluation.regions.inner.r_max", {"a": [[{"b": CALL}]]}),
    "a list": put("datastore.holdout", [CALL]),
    "a list itself": put("loss", [CALL]),
    "positional": put("graph._args_", [CALL]),
    "not recursive": put("model", {"_target_": MODEL, "_recursive_": False, "inside": CALL}),
    "partial": put("schedule", {**CALL, "_partial_": True}),
    "partial of functools": put("schedule", {"_target_": "functools.partial", "_args_": [CALL]}),
    "Hydra, a class": put("schedule", {"_target_": "hydra.utils.get_class", "path": f"{HERE}.run"}),
    "Hydra, a method": put("schedule", {"_target_": "hydra.utils.get_method", "path": f"{HERE}.run"}),
    "Hydra, instantiate": put("schedule", {"_target_": "hydra.utils.instantiate", "config": CALL}),
    "convert": put("schedule", {**CALL, "_convert_": "object"}),
    "builtin": put("loss", {"_target_": "builtins.eval", "_args_": ["open('marker', 'w')"]}),
    "dunder": put("loss", {"_target_": f"{MODEL}.__class__"}),
    "another section's": put("graph", {"_target_": "spacecast.simulation.generate", "root": "marker"}),
    "an optimiser elsewhere": put("graph._target_", "torch.optim.AdamW"),
    "no name": put("model._target_", None),
    "a target in a target": put("model._target_", CALL),
    "a list of names": put("model._target_", [MODEL]),
    "bytes": put("model._target_", MODEL.encode()),
    "blank": put("model._target_", f" {MODEL}"),
    "line": put("model._target_", f"{MODEL}\n"),
    "letters that look alike": put("model._target_", MODEL.replace("a", "\N{CYRILLIC SMALL LETTER A}")),
    "full width": put("model._target_", MODEL.replace("p", "\N{FULLWIDTH LATIN SMALL LETTER P}")),
    "surrogates": put("model._target_", "\ud800.\udfff"),
    "empty": put("model._target_", ""),
    "dots": put("model._target_", ".."),
    "interpolated": put("model._target_", "${oc.env:SPACECAST_SECRET}"),
    "a tensor": put("model.trend", torch.zeros(3)),
    "odd keys": put("model", {"_target_": MODEL, ("a", 1): CALL}),
    "terminal": put("model.\x1b[2J", CALL),
    "in itself": put("model.loop", LOOP),
    "large": put("model.deep", DEEP),
    "no section": put("graph", "marker"),
    "no configuration": lambda config: config.update(paths="x"),
    "only these": lambda config: config.clear(),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_in_a_checkpoint_is_called_or_imported(case, stored, composed, marker, monkeypatch):
    monkeypatch.chdir(marker.parent)
    path = stored(HOSTILE[case])
    if case == "only these":
        assert complete({**composed, "checkpoint": str(path)}, [], {})["model"] == composed["model"]
        return
    with pytest.raises(UserError) as error:
        complete({**composed, "checkpoint": str(path)}, [], {})
    line = str(error.value)
    assert line.startswith(f"checkpoint {path}: ")
    assert line.isprintable()
    assert len(line) < 500 + len(str(path))
    assert not marker.exists()
    assert HERE not in sys.modules
    assert SECRET not in line


def test_the_line_says_where_it_stands_and_what_to_type(stored, composed, marker):
    path = stored(put("evaluation.regions.inner", {"_args_": [{"_target_": f"{HERE}.run"}]}))
    with pytest.raises(UserError) as error:
        complete({**composed, "checkpoint": str(path)}, [], {})
    assert str(error.value) == (
        f"checkpoint {path}: evaluation.regions.inner._args_[0]._target_='hostile_module.run' is not called, for no "
        "configuration group names it for 'evaluation'; if you know and trust that code, add trust=hostile_module"
    )
    assert not marker.exists()


def test_a_file_that_claims_to_be_one_of_the_reference_brings_no_target(stored, composed, marker):
    def claim(facts: dict[str, Any]) -> None:
        facts |= {"data_spec": None, "reference": {"graph": "x", "epochs": 1, "datastore": dict(CALL)}}

    path = stored(lambda config: config.pop("datastore"), claim)
    for words in (["datastore=vlasiator", "graph=simple"], ["datastore.root=x"], []):
        with pytest.raises(UserError):
            complete({**composed, "simulation": None, "checkpoint": str(path)}, words, {})
    assert not marker.exists()


def test_import_of_such_a_file_calls_nothing_either(stored, composed, marker, tmp_path):
    def claim(facts: dict[str, Any]) -> None:
        facts |= {"data_spec": None, "reference": {"graph": "x", "epochs": 1, "datastore": {}}}

    path = stored(put("model", dict(CALL)), claim)
    plain = {**composed, "checkpoint": str(path), "output": str(tmp_path / "new.ckpt"), "overwrite": False}
    with pytest.raises(UserError, match="trust=hostile_module"):
        complete_import(plain, ["datastore=vlasiator", "graph=stored"], {})
    assert not marker.exists()


def nothing(_: dict[str, Any]) -> None:
    """A checkpoint as it is."""


def test_what_spacecast_writes_needs_no_trust(stored, composed):
    for change in (nothing, put("optimizer._target_", "torch.optim.SGD"), put("model._target_", MODEL)):
        merged = complete({**composed, "checkpoint": str(stored(change))}, [], {})
        assert merged["model"]["_target_"] == MODEL


def test_every_member_of_every_group_is_known_for_its_own_section():
    trust = Trust(folders=(conf_dir(),))
    targets = {}
    for file in conf_dir().glob("*/*.yaml"):
        section = yaml.safe_load(file.read_text())
        if isinstance(section, dict) and "_target_" in section:
            trust.check({file.parent.name: section}, str(file))
            targets.setdefault(file.parent.name, {})[section["_target_"]] = section
    assert {"datastore", "model", "loss", "optimizer", "logger"} <= targets.keys()
    for group, other in itertools.permutations(targets, 2):
        for target in targets[other].keys() - targets[group].keys():
            with pytest.raises(UserError, match="no configuration group names it"):
                trust.check({group: targets[other][target]}, "x")


NO_SECTIONS = ("/etc", "", "..", "*", "**", "**x", "mode?", "mod[e]l", "../own/model", "model/../model", 5000 * "x")


@pytest.mark.parametrize("section", NO_SECTIONS)
def test_the_name_of_a_section_is_no_pattern_of_paths(section, tmp_path):
    """Nor does it lead to groups that somebody else has written."""
    for folder in ("conf/model", "own/model"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.yaml").write_text("_target_: os.system\n")
    trust = Trust(folders=(tmp_path / "conf",))
    trust.check({"model": {"_target_": "os.system"}}, "x")
    with pytest.raises(UserError, match="no configuration group names it"):
        trust.check({section: {"_target_": "os.system"}}, "x")


def test_only_what_is_used_is_looked_at(stored, composed, marker):
    """The logger and the trainer of somebody else's training are not those of the evaluation."""
    path = stored(lambda config: (put("logger", CALL)(config), put("trainer", CALL)(config)))
    merged = complete({**composed, "checkpoint": str(path)}, [], {})
    assert merged["logger"]["_target_"] == composed["logger"]["_target_"]
    path = stored(put("model", {**CALL, "hidden_dim": 3}))
    typed = {**composed, "model": {"_target_": "spacecast.models.persistence.Persistence", "_partial_": True}}
    merged = complete({**typed, "checkpoint": str(path)}, ["model=persistence"], {})
    assert merged["model"] == typed["model"]
    assert not marker.exists()


def test_a_typed_target_needs_no_trust(stored, composed):
    path = stored(put("model._target_", "elsewhere.Model"))
    typed = {**composed, "checkpoint": str(path), "model": {**composed["model"], "_target_": "mine.Model"}}
    assert complete(typed, ["++model._target_=mine.Model"], {})["model"]["_target_"] == "mine.Model"
    with pytest.raises(UserError, match=r"model\._target_='elsewhere\.Model' is not called"):
        complete(typed, ["model.trend=1"], {})


ALLOWED = {"module": "hostile_module", "list": ["other", "hostile_module"], "function": "hostile_module.run"}
NOT_ALLOWED = {"nothing": None, "part of a name": "hostile", "function beside it": "hostile_module.ru", "other": ["os"]}


@pytest.mark.parametrize("case", [*ALLOWED, *NOT_ALLOWED])
def test_a_module_is_trusted_by_its_name(case, marker):
    trust = Trust.of({"trust": {**ALLOWED, **NOT_ALLOWED}[case]}, [conf_dir()])
    if case in ALLOWED:
        trust.check({"model": dict(CALL)}, "x")
        return
    with pytest.raises(UserError, match="add trust=hostile_module"):
        trust.check({"model": dict(CALL)}, "x")
    assert not marker.exists()


ROADS = ("os.system", "Path.touch", "os.path.os.popen", "run.__class__", "__loader__.exec_module")


@pytest.mark.parametrize("road", ROADS)
def test_a_trusted_module_is_no_road_to_others(road, marker):
    with pytest.raises(UserError, match="which is not trusted"):
        Trust(("hostile_module",)).check({"model": {"_target_": f"hostile_module.{road}"}}, "x")


@pytest.mark.parametrize("value", [3, True, {"a": 1}, [["a"]]])
def test_trust_is_a_name_or_a_list_of_names(value):
    with pytest.raises(UserError, match="expected the dotted name of a module"):
        trusted_words(value)


@pytest.mark.parametrize("word", ["", "*", "a b", ".", "a.", "a-b", 3, None, "\u0430"])
def test_trust_names_modules(word):
    with pytest.raises(UserError, match="expected the dotted name of a module"):
        trusted_words([word])


def test_trust_in_a_file_counts_for_nothing(stored, composed, marker):
    path = stored(lambda config: (put("trust", [HERE])(config), put("model", dict(CALL))(config)))
    with pytest.raises(UserError, match="is not called"):
        complete({**composed, "checkpoint": str(path)}, [], {})


def test_text_of_a_file_is_text(monkeypatch, tmp_path):
    """An environment variable does not go into objects, nor into config.yaml."""
    monkeypatch.setenv("SPACECAST_SECRET", SECRET)
    texts = ["${oc.env:SPACECAST_SECRET}", "a${oc.env:SPACECAST_SECRET}", "${", "$${x}", "\\${x}", "???", "1e3"]
    section = {"_target_": "types.SimpleNamespace", "texts": texts, "nested": {"deep": [{"text": texts[0]}]}}
    made = build(section)
    assert (made.texts, made.nested) == (texts, section["nested"])
    write_config({"model": section}, tmp_path)
    assert read_config(tmp_path) == {"model": section}
    assert SECRET not in (tmp_path / "config.yaml").read_text()
    write_config(read_config(tmp_path), tmp_path)
    assert read_config(tmp_path) == {"model": section}


def test_values_come_back_from_the_record_as_they_were(tmp_path):
    texts = ["1e3", "1_000", "yes", "null", "0x1", "", " ", "é\n", "nan", "1:30"]
    plain = {"a": [1, 1.0, 1e-5, 1e300, True, None, *texts], "again": texts, "once more": texts}
    write_config(plain, tmp_path)
    assert read_config(tmp_path) == plain
    assert "&" not in (tmp_path / "config.yaml").read_text()


def test_sections_are_built_as_hydra_does():
    inner = {"_target_": "types.SimpleNamespace", "a": 1}
    made = build({"_target_": "types.SimpleNamespace", "_convert_": "all", "one": inner, "many": [inner, {"x": inner}]})
    assert (made.one.a, made.many[0].a, made.many[1]["x"].a) == (1, 1, 1)
    assert build({"_target_": "types.SimpleNamespace", "_recursive_": False, "one": inner}).one == inner
    assert build({"_target_": "math.hypot", "_args_": [3, 4]}) == 5
    assert build({"_target_": "math.hypot", "_partial_": True, "_args_": [3]})(4) == 5
    assert build({"a": [inner], "b": None})["a"][0].a == 1
    assert build(None) is None


def test_an_identifier_out_of_a_file_builds_nothing(tmp_path, marker):
    (tmp_path / "run.json").write_text('{"mlflow_run_id": {"_target_": "hostile_module.run"}}')
    logger = LoggerSection(content={"_target_": "x"}, tracking_uri="sqlite:///a.db")
    config = SimpleNamespace(paths=Paths(tmp_path, tmp_path, tmp_path), logger=logger)
    assert tracking_id(config, None) == {}
    (tmp_path / "run.json").unlink()
    assert tracking_id(config, {"_target_": "hostile_module.run"}) == {}
    assert tracking_id(config, "known") == {"run_id": "known"}


def test_to_go_on_from_a_checkpoint_calls_nothing_that_it_names(stored, tmp_path, marker):
    path = stored(put("graph", dict(CALL)))
    for key in ("resume", "init_from"):
        places = Paths(tmp_path, tmp_path, tmp_path / "new")
        config = SimpleNamespace(**{"paths": places, "resume": None, "init_from": None, key: path})
        start = find_start(config, {})
        assert path in (start.checkpoint, start.weights)
    assert not marker.exists()


ODD_PLACES = {
    "elsewhere": lambda folder: str(folder / "elsewhere"),
    "up again": lambda folder: f"{folder}/data/../elsewhere",
    "home": lambda _: "~/elsewhere",
    "relative": lambda _: "elsewhere",
}


@pytest.mark.parametrize("case", ODD_PLACES)
def test_a_stored_simulation_writes_where_data_are_kept(case, stored, composed, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data" if case == "home" else tmp_path)
    root = ODD_PLACES[case](tmp_path)

    def simulate(config: dict[str, Any]) -> None:
        config["simulation"] = {"_target_": "spacecast.simulation.generate", "_partial_": True, "root": root}
        config["datastore"]["root"] = root
        config["paths"]["data_dir"] = str(tmp_path / "data")

    paths = {**composed["paths"], "data_dir": str(tmp_path / "data")}
    plain = {**composed, "checkpoint": str(stored(simulate)), "paths": paths}
    with pytest.raises(UserError, match=r"its simulation would write into .*, outside of paths\.data_dir"):
        complete(plain, [], {})
    kept = {"simulation.root": str(tmp_path / "data" / "set"), "datastore.root": str(tmp_path / "data" / "set")}
    inside = stored(lambda config: (simulate(config), *(put(key, value)(config) for key, value in kept.items())))
    assert complete({**plain, "checkpoint": str(inside)}, [], {})["simulation"]["root"] == kept["simulation.root"]


MINE = "from spacecast.models.persistence import Persistence\n\nclass Mine(Persistence):\n    '''My own.'''\n"


def test_a_model_of_ones_own_is_scored_when_its_module_is_trusted(run, workplace, stored, monkeypatch, tiny_data):
    (workplace / "my_models.py").write_text(MINE)
    (workplace / "own" / "model").mkdir(parents=True)
    (workplace / "own" / "model" / "mine.yaml").write_text("_target_: my_models.Mine\n_partial_: true\ntrend: 0.0\n")
    monkeypatch.syspath_prepend(workplace)
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])
    monkeypatch.setenv("SPACECAST_SECRET", SECRET)

    def own(config: dict[str, Any]) -> None:
        config["model"]["_target_"] = "my_models.Mine"
        config["logger"] = {"run_name": "${oc.env:SPACECAST_SECRET}"}
        config["evaluation"]["regions"] = {"${oc.env:SPACECAST_SECRET}": {"r_max": 10}}

    words = [f"checkpoint={stored(own)}", f"paths.data_dir={tiny_data}", "evaluation.windows=1"]
    refused = run("spacecast-evaluate", *words, "logger=csv", "paths.run_dir=no")
    assert (refused.code, "add trust=my_models" in refused.line) == (2, True)
    assert not (workplace / "no").exists()
    for extra in (["trust=my_models", "logger=csv", "paths.run_dir=a"], ["--config-dir", "own", "paths.run_dir=b"]):
        result = run("spacecast-evaluate", *words, "logger=csv", *extra)
        assert (result.code, result.err) == (0, "")
        place = workplace / extra[-1].partition("=")[2]
        assert (place / "scores.csv").exists()
        for file in filter(Path.is_file, place.rglob("*")):
            assert SECRET.encode() not in file.read_bytes(), file
    text = (workplace / "a" / "config.yaml").read_text()
    assert "${oc.env:SPACECAST_SECRET}" in text


def test_plain_values_are_copied_in_full():
    from collections import OrderedDict

    value = OrderedDict(a=(1, 2), b=OrderedDict(c=None))
    found = plain_values(value, "x")
    assert found == {"a": [1, 2], "b": {"c": None}}
    assert type(found["b"]) is dict
    assert isinstance(value, Mapping)


def test_the_checkpoint_of_these_tests_is_a_whole_one(stored):
    assert load_checkpoint(stored(nothing))["spacecast"]["config"]["model"]["_target_"] == MODEL
