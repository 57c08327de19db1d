"""`spacecast-data export`: a model as a folder that every command takes, and a card that tells what its scores say."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
import xarray as xr
import yaml

from spacecast.app.assemble import build_model, open_data, open_graph
from spacecast.app.auto import settled
from spacecast.app.train import COMMAND as TRAIN
from spacecast.checkpoint.content import describe, load_checkpoint, model_weights
from spacecast.checkpoint.exported import CARD, CONFIG, SUMS
from spacecast.checkpoint.files import write_whole
from spacecast.config.command import Inputs
from spacecast.config.complete import completed
from spacecast.config.compose import compose, conf_dir
from spacecast.config.schema import typed
from spacecast.process.run_folder import add_facts, write_config

MODELS = {
    "fm": ["model=graph_fm", "model.hidden_dim=8", "model.processor_layers=1"],
    "efm": ["model=graph_efm", "model.hidden_dim=8", "graph=multiscale", "model.latent_dim=4", "evaluation.members=2"],
    "unet": ["model=graph_unet", "model.hidden_dim=8", "model.previous_leads=1", "model.magnetic=potential"],
}
SCORED = ["evaluation.windows=1", "logger=none", "trainer=cpu"]
PLACES = re.compile(r"/(tmp|home|root|work|opt|var|usr)\b")


def make_run(folder: Path, data_dir: Path, words: list[str], **more: object) -> Path:
    """A run folder as a training leaves it, its weights drawn and not trained; without scores."""
    words = [
        f"paths.data_dir={data_dir}", f"paths.run_dir={folder}", "trainer=cpu",
        "data.val_steps=2", "evaluation.steps=2", "evaluation.examples=0", *words,
    ]  # fmt: skip
    plain = completed(TRAIN, compose("train", words, conf_dir()), {}) | {"simulation": None}
    datastore = open_data(typed(plain, TRAIN.schema))
    inputs = settled(Inputs.of(plain, TRAIN.schema), datastore)
    config, plain = inputs.config, inputs.plain
    graph = open_graph(config.graph, datastore.spec.grid, config.paths.data_dir)
    model = build_model(config.model, config.seed, datastore.spec, graph)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    content = {"state_dict": weights, "spacecast": describe({**plain, **more}, datastore.spec, graph)}
    folder.mkdir()
    write_whole(content, folder / "checkpoints" / "best.ckpt")
    write_config(plain, folder)
    return folder


@pytest.fixture(scope="module", params=MODELS)
def trained(request, tiny_data, tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / request.param, tiny_data, MODELS[request.param])


@pytest.fixture(scope="module")
def plain_run(tiny_data, tmp_path_factory) -> Path:
    """A run of persistence, which is quick."""
    return make_run(tmp_path_factory.mktemp("runs") / "persistence", tiny_data, ["model=persistence"])


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr("spacecast.plots.pictures.draw_pictures", lambda *_: [])


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cells(line: str) -> list[str]:
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


# --- the way there and back --------------------------------------------------------------------------------------


def test_a_model_travels_and_scores_as_before(run, workplace, trained, tiny_data, no_pictures):
    """Exported with the scores of an evaluation, moved, evaluated again: the same scores to the last digit."""
    root = f"datastore.root={tiny_data}/magnetosphere"
    result = run("spacecast-evaluate", f"checkpoint={trained}", *SCORED, "paths.run_dir=first")
    assert (result.code, result.err) == (0, "")
    words = ["name=my-model", f"checkpoint={trained}", "scores=first", "license=cc-by-4.0"]
    result = run("spacecast-data", "export", *words)
    assert (result.code, result.err) == (0, "")
    assert f"hf upload OWNER/my-model {workplace}/models/my-model" in result.out
    folder = (workplace / "models" / "my-model").rename(workplace / "elsewhere")

    before, after = load_checkpoint(trained), load_checkpoint(folder)
    for name, value in model_weights(before).items():
        assert torch.equal(model_weights(after)[name], value)
    result = run("spacecast-evaluate", "checkpoint=elsewhere", root, *SCORED, "paths.run_dir=second")
    assert (result.code, result.err) == (0, "")
    assert (workplace / "second/scores.csv").read_text() == (workplace / "first/scores.csv").read_text()
    assert (folder / "scores.csv").read_text() == (workplace / "first/scores.csv").read_text()
    before, after = (xr.load_dataset(path / "scores.nc") for path in (workplace / "first", folder))
    assert (Path(before.attrs["checkpoint"]).is_absolute(), after.attrs["checkpoint"]) == (True, "my-model")
    xr.testing.assert_equal(before, after)
    assert str(workplace).encode() not in (folder / "scores.nc").read_bytes()
    assert str(trained).encode() not in (folder / "scores.nc").read_bytes()
    check_card(folder, ensemble="efm" in trained.name)
    check_forecast(run, folder, tiny_data / "magnetosphere", trained)
    check_lines_of_python(folder, tiny_data / "magnetosphere" / "run_1.zarr", ensemble="efm" in trained.name)


def check_forecast(run, folder: Path, data: Path, trained: Path) -> None:
    """The card's line, and the same of the checkpoint that was exported: one forecast."""
    found = []
    [line] = re.findall(r"^spacecast-forecast .*$", (folder / CARD).read_text(), re.MULTILINE)
    for checkpoint in (folder, trained):
        more = f"checkpoint={checkpoint}", f"datastore.root={data}", "trainer=cpu", "steps=2"
        _, *words = line.replace("forecast.zarr", f"{checkpoint.name}.zarr").replace("=20", "=3").split()
        result = run("spacecast-forecast", *words, *more)
        assert (result.code, result.err) == (0, "")
        found.append(xr.load_dataset(f"{checkpoint.name}.zarr", engine="zarr"))
    xr.testing.assert_equal(*found)
    assert found[0].sizes["lead_time"] == 2


def check_lines_of_python(folder: Path, states: Path, ensemble: bool) -> None:
    """What the card says of Python is true."""
    code = (folder / CARD).read_text().partition("```python\n")[2].partition("```")[0]
    numbers = ("steps=30", "steps=2"), ("20", "3")  # before the paths, which may have such numbers in them
    for word, meant in (*numbers, ("FOLDER", str(folder)), ("run.zarr", str(states))):
        code = code.replace(word, meant)
    made: dict = {}
    exec(code, made)
    assert dict(made["forecast"].sizes)["lead_time"] == 2
    assert made["forecast"].sizes.get("member", 1) == (3 if ensemble else 1)
    assert made["forecast"].Bx.notnull().any()


def check_card(folder: Path, ensemble: bool) -> None:
    """The front matter is what the hub reads, and each number of the tables is in scores.csv."""
    text = (folder / CARD).read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["library_name"] == "spacecast"
    assert {"space-weather", *(["ensemble"] if ensemble else [])} <= set(front["tags"])
    hub = pytest.importorskip("huggingface_hub")
    assert hub.ModelCard.load(folder / CARD).data.license == "cc-by-4.0"
    with (folder / "scores.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["region"] == "all"]
    stored = {(row["metric"], row["variable"], float(row["lead_s"])): float(row["value"]) for row in rows}
    tables = re.findall(r"### (\S+) s ahead\n\n(.*?)\n\n", text + "\n\n", re.DOTALL)
    assert [float(lead) for lead, _ in tables] == sorted({lead for _, _, lead in stored})
    metrics = ["rmse", "persistence_rmse", "skill", *(["crps", "spread_skill_ratio"] if ensemble else [])]
    count = 0
    for lead, table in tables:
        head, _, *lines = table.splitlines()
        assert len(cells(head)) == 2 + len(metrics)
        assert len(lines) == 13
        for line in lines:
            name, units, *numbers = cells(line)
            for metric, number in zip(metrics, numbers, strict=True):
                value = stored.get((metric, name, float(lead)))
                assert number == ("-" if value is None or value != value else f"{value:.4g}")
                count += number != "-"
            assert units == next((row["units"] for row in rows if row["variable"] == name and name != "mean"), "")
    assert count > 50


def test_no_path_and_no_name_of_the_machine_is_in_it(run, workplace, plain_run, monkeypatch):
    monkeypatch.setenv("USER", "somebody")
    assert run("spacecast-data", "export", "name=m", f"checkpoint={plain_run}", "output=out").code == 0
    found = files(workplace / "out")
    assert set(found) == {CONFIG, "data.safetensors", "model.safetensors", SUMS, CARD}
    for name, data in found.items():
        assert not PLACES.search(data.decode(errors="replace")), name
        assert b"somebody" not in data
    config = json.loads(found[CONFIG])["config"]
    assert config["datastore"]["root"] == "magnetosphere"
    assert not {"paths", "logger", "trainer", "launcher", "trust"} & set(config)


@pytest.mark.parametrize("trained", ["fm"], indirect=True)
def test_a_training_starts_from_it_and_does_not_resume_it(run, workplace, trained, small):
    assert run("spacecast-data", "export", "name=m", f"checkpoint={trained}").code == 0
    words = [*small, "dry_run=true", "paths.run_dir=run"]
    result = run("spacecast-train", *words, "init_from=models/m")
    assert (result.code, result.err) == (0, "")
    assert f"weights of {workplace}/models/m/model.safetensors" in result.out
    for path in ("models/m", "models/m/model.safetensors"):
        result = run("spacecast-train", *words, f"resume={path}")
        assert result.code == 2
        assert result.line.endswith(f"not a training to go on with; use init_from={workplace}/{path}")


def test_data_that_are_nowhere_are_asked_for(run, workplace, plain_run):
    assert run("spacecast-data", "export", "name=m", f"checkpoint={plain_run}").code == 0
    result = run("spacecast-evaluate", "checkpoint=models/m", *SCORED, "paths.run_dir=run")
    assert result.code == 2
    assert f"{workplace}/data/magnetosphere does not exist" in result.line


def test_data_that_were_simulated_are_asked_for_and_not_made_anew(run, workplace, tiny_data):
    simulation = {"_target_": "spacecast.simulation.generate", "_partial_": True, "root": f"{tiny_data}/magnetosphere"}
    make_run(workplace / "run", tiny_data, ["model=persistence"], simulation={**simulation, "preset": "tiny"})
    assert run("spacecast-data", "export", "name=m", "checkpoint=run").code == 0
    assert "simulated by `spacecast-data simulate`: preset tiny |" in (workplace / "models/m" / CARD).read_text()
    result = run("spacecast-evaluate", "checkpoint=models/m", *SCORED, "paths.run_dir=again")
    assert result.code == 2
    assert f"the data of this training are not in {workplace}/data/magnetosphere; give datastore.root=" in result.line


# --- scores ------------------------------------------------------------------------------------------------------


def test_scores_of_a_run_are_those_of_its_checkpoint_or_left_out(run, workplace, plain_run):
    folder = shutil.copytree(plain_run, workplace / "run")
    (folder / "scores.csv").write_text(
        "metric,variable,units,lead_s,region,value\nrmse,Bx,nT,15,all,1.25\nskill,Bx,1,15,all,0.5\n"
    )
    words = ["export", "name=m", "checkpoint=run", "overwrite=true"]
    result = run("spacecast-data", *words)  # nothing says that it was scored at its end
    assert "there are no scores of" in result.out
    assert "There are none with this model" in (workplace / "models/m" / CARD).read_text()
    trainer = yaml.safe_load((folder / "config.yaml").read_text())["trainer"]
    ends = {name: trainer[name] for name in ("max_epochs", "max_steps")}
    add_facts(folder, scored={"evaluation": {}, **ends})
    assert "there are no scores" not in run("spacecast-data", *words).out
    assert "| `Bx` | nT | 1.25 | 0.5 |" in (workplace / "models/m" / CARD).read_text()
    assert (workplace / "models/m/scores.csv").read_text() == (folder / "scores.csv").read_text()
    add_facts(folder, scored={"evaluation": {}, **ends, "max_epochs": 1})  # it has gone on since
    assert "there are no scores of" in run("spacecast-data", *words).out
    assert not (workplace / "models/m/scores.csv").exists()


# --- stored graphs, published weights ----------------------------------------------------------------------------


def test_an_imported_checkpoint_with_its_graph(run, workplace, reference_dir, no_pictures):
    data, graph = reference_dir / "data", shutil.copytree(reference_dir / "data" / "graph" / "simple", "graph")
    words = ["datastore=vlasiator", f"datastore.root={data}", "datastore.runs=[2]", "graph=stored", "graph.path=graph"]
    original = reference_dir / "trained" / "graph_fm_simple"
    result = run("spacecast-data", "export", "name=m", f"checkpoint={original}")
    assert result.code == 2
    assert "is a checkpoint of the reference, which does not say what it was trained on" in result.line
    assert run("spacecast-data", "import-checkpoint", f"checkpoint={original}", "output=fm.ckpt", *words).code == 0
    assert run("spacecast-data", "export", "name=m", "checkpoint=fm.ckpt").code == 0
    shutil.rmtree(graph)
    result = run("spacecast-data", "export", "name=n", "checkpoint=fm.ckpt")
    assert result.code == 2
    assert f"files, which are not in {workplace}/graph: give graph=stored graph.path=DIR" in result.line
    folder = workplace / "models" / "m"
    assert "of the published reference implementation, graph `simple`" in (folder / CARD).read_text()
    tensors = {path.name: path.read_bytes() for path in (reference_dir / "data/graph/simple").glob("*.pt")}
    assert {path.name: path.read_bytes() for path in (folder / "graph").iterdir()} == tensors
    scored = ["evaluation.steps=2", "evaluation.examples=0", *SCORED]
    for name, checkpoint in (("one", original), ("two", "models/m")):
        more = [f"datastore.root={data}"] if name == "two" else [*words[:-1], "graph.path=models/m/graph"]
        result = run("spacecast-evaluate", f"checkpoint={checkpoint}", *more, *scored, f"paths.run_dir={name}")
        assert (result.code, result.err) == (0, "")
        assert "another graph" not in result.out
    assert (workplace / "one/scores.csv").read_text() == (workplace / "two/scores.csv").read_text()
    result = run("spacecast-data", "export", "name=again", "checkpoint=models/m")  # from what was exported
    assert (result.code, result.err) == (0, "")
    again = files(workplace / "models" / "again")
    assert {name: data for name, data in files(folder).items() if name != CARD} == {
        name: data for name, data in again.items() if name != CARD
    }
    other = reference_dir / "data" / "graph" / "multiscale"
    words = ["export", "name=n", "checkpoint=fm.ckpt", "graph=stored", f"graph.path={other}"]
    assert "holds another mesh graph" in run("spacecast-data", *words).line


# --- mistakes ----------------------------------------------------------------------------------------------------

MISTAKES = {
    "no checkpoint": (["name=m", "checkpoint=null"], "checkpoint has no value"),
    "no name": ([], "name has no value"),
    "a name that is a path": (["name=../m"], "name=../m: give letters, digits"),
    "a name that begins with a dot": (["name=.m"], "name=.m: give letters, digits"),
    "a name that is long": ([f"name={'m' * 97}"], "give letters, digits"),
    "a licence in words": (["name=m", "license=My licence"], "license=My licence: give an identifier"),
    "a graph of its own": (["name=m", "graph=simple"], "graph of this model follows from its recipe; leave graph out"),
    "scores that are not there": (["name=m", "scores=nowhere"], "nowhere holds no scores.csv"),
    "scores of a training": (["name=m", "scores=other"], "holds scores of a training"),
    "a file in its place": (["name=m", "output=file"], "file exists; give another folder"),
    "somebody's folder": (["name=m", "output=other", "overwrite=true"], "other exists; give another folder"),
    "below a file": (["name=m", "output=file/m"], "cannot write there"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(run, workplace, plain_run, mistake):
    words, message = MISTAKES[mistake]
    (workplace / "file").touch()
    (workplace / "other").mkdir()
    (workplace / "other" / "scores.csv").touch()
    result = run("spacecast-data", "export", f"checkpoint={plain_run}", *words)
    assert result.code == 2
    assert message in result.line
    assert {path.name for path in workplace.iterdir()} == {"file", "other"}
    assert [path.name for path in (workplace / "other").iterdir()] == ["scores.csv"]


def test_a_model_is_replaced_only_when_that_is_asked_for(run, workplace, plain_run):
    words = ["export", f"checkpoint={plain_run}", "name=m"]
    assert run("spacecast-data", *words).code == 0
    assert "exists; give overwrite=true, or another folder" in run("spacecast-data", *words).line
    (workplace / "models/m" / CARD).write_text("mine")
    assert run("spacecast-data", *words, "overwrite=true").code == 0
    assert (workplace / "models/m" / CARD).read_text() != "mine"


def test_a_configuration_that_would_call_something_else_is_refused(run, workplace, plain_run, tiny_data, monkeypatch):
    """Signed by somebody who means harm: nothing is imported, by no command."""
    import hashlib

    assert run("spacecast-data", "export", f"checkpoint={plain_run}", "name=m").code == 0
    folder, marker = workplace / "models" / "m", workplace / "marker"
    (workplace / "hostile.py").write_text(f"open({str(marker)!r}, 'w')\ndef run(**_): ...\n")
    monkeypatch.syspath_prepend(workplace)
    content = json.loads((folder / CONFIG).read_text())
    for section in ("model", "datastore", "graph"):
        changed = json.loads((folder / CONFIG).read_text())
        changed["config"] = {**content["config"], section: {**content["config"][section], "_target_": "hostile.run"}}
        (folder / CONFIG).write_text(json.dumps(changed))
        sums = (folder / SUMS).read_text().splitlines()[1:]
        digest = hashlib.sha256((folder / CONFIG).read_bytes()).hexdigest()
        (folder / SUMS).write_text("\n".join([f"{digest}  {CONFIG}", *sums]))
        root = f"datastore.root={tiny_data}/magnetosphere"
        result = run("spacecast-evaluate", "checkpoint=models/m", root, *SCORED, "paths.run_dir=run")
        assert result.code == 2
        assert f"{section}._target_='hostile.run' is not called" in result.line
        assert not marker.exists()
