"""`spacecast-data download` against a stand-in of the hub: whole, repeated, interrupted, damaged, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from data_fixtures import X, save
from hub_stand_in import Hub, Repository, serving

from spacecast.app.download import PUBLISHED, next_commands
from spacecast.checkpoint.content import describe, load_checkpoint, model_weights
from spacecast.checkpoint.exported import write_exported
from spacecast.data.datastore import RunDatastore
from spacecast.data.download import LOCK, PARTIAL, RECORD, in_words
from spacecast.graphs.builders import MeshGraphBuilder

hub_library = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
FILES = {
    "README.md": b"# a data set\n",
    "run_1.zarr/.zgroup": b'{"zarr_format": 2}',
    "run_1.zarr/T/0.0.0": os.urandom(5000),
    "run_1.zarr/T/1.0.0": os.urandom(5000),
    "run_2.zarr/T/0.0.0": os.urandom(3000),
    "graph/simple/g2m_features.pt": os.urandom(900),
    "empty": b"",
    "a b/c+d%20e#f.txt": b"signs",
}
NAME = "deinal/spacecast-data"
ENVIRONMENT = ("HF_TOKEN", "HF_HOME", "HF_HUB_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_CACHE", "HF_XET_CACHE")


@pytest.fixture
def hub(tmp_path_factory, monkeypatch):
    """A hub with one data set, which commands find."""
    home = tmp_path_factory.mktemp("home")
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    with serving(Hub({NAME: Repository("datasets", dict(FILES))})) as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        monkeypatch.setenv("HF_HOME", str(home))
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)  # which was read when the library was imported
        address = f"{stand_in.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(home / "harnesses"))
        yield stand_in


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but our note."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def note(folder: Path) -> dict:
    return json.loads((folder / RECORD).read_text())


# --- what arrives ------------------------------------------------------------------------------------------------


def test_a_data_set_arrives_whole_told_before_and_noted(run, workplace, hub):
    result = run("spacecast-data", "download", "name=spacecast-data")
    assert (result.code, result.err) == (0, "")
    folder = workplace / "data" / "spacecast-data"
    assert contents(folder) == FILES
    told = (
        f"{NAME} (dataset, revision {'a' * 40}): 13.9 kB, of which 13.9 kB in 8 files are to be fetched into {folder}"
    )
    assert told in result.out
    assert result.out.index(told) < result.out.index("8 files checked, all as published")
    assert f"spacecast-data inspect datastore=vlasiator datastore.root={folder}" in result.out
    expected = {"repository": NAME, "kind": "dataset", "revision": "a" * 40, "only": [], "complete": True}
    begun = note(folder)["begun"]
    assert note(folder) == {**expected, "begun": begun}
    assert {(folder / path).stat().st_mtime for path in FILES} == {begun}
    assert sorted(path.name for path in workplace.iterdir()) == ["data"]


def test_given_again_nothing_is_fetched_and_all_is_checked(run, workplace, hub):
    assert run("spacecast-data", "download", "name=spacecast-data").code == 0
    hub.asked.clear()
    result = run("spacecast-data", "download", "name=spacecast-data")
    assert (result.code, hub.asked) == (0, [])
    assert "of which 0 B in 0 files are to be fetched" in result.out
    assert "8 files checked" in result.out


@pytest.mark.parametrize("path", ["run_1.zarr/T/0.0.0", "README.md"])
@pytest.mark.parametrize("damage", ["one bit", "longer", "gone"])
def test_a_file_that_is_damaged_on_the_disk_is_named_and_fetched_again(run, workplace, hub, path, damage):
    words = ["download", "name=spacecast-data", "output=here"]
    assert run("spacecast-data", *words).code == 0
    file, hub.asked[:] = workplace / "here" / path, []
    if damage == "gone":
        file.unlink()
    else:
        before, stat = file.read_bytes(), file.stat()
        file.write_bytes(before + b"x" if damage == "longer" else bytes([before[0] ^ 1]) + before[1:])
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = run("spacecast-data", *words)
    assert (result.code, hub.fetched()) == (0, [path])
    assert (f"{file} is damaged or was changed: it is fetched again" in result.out) == (damage != "gone")
    assert file.stat().st_mtime == (workplace / "here" / "empty").stat().st_mtime  # raw data are not newer
    assert contents(workplace / "here") == FILES


def test_patterns_choose_files_and_more_can_be_fetched_later(run, workplace, hub):
    words = ["download", "name=spacecast-data", "output=here"]
    result = run("spacecast-data", *words, "only=[run_1.zarr/,graph/*]")
    assert result.code == 0
    wanted = {path for path in FILES if path.startswith(("run_1.zarr/", "graph/"))}
    assert contents(workplace / "here").keys() == wanted
    assert note(workplace / "here")["only"] == ["run_1.zarr/", "graph/*"]
    result = run("spacecast-data", *words, "only=nothing/*")
    assert result.code == 2
    assert f"no file of {NAME} fits only=['nothing/*']; it holds README.md, a b, empty, graph" in result.line
    assert run("spacecast-data", *words, "only=README.md").code == 0
    assert note(workplace / "here")["only"] == ["run_1.zarr/", "graph/*", "README.md"]
    assert run("spacecast-data", *words).code == 0
    assert contents(workplace / "here") == FILES
    assert note(workplace / "here")["only"] == []


def test_the_commit_that_was_begun_with_goes_on_whatever_is_newer(run, workplace, hub):
    words = ["download", "name=spacecast-data", "output=here"]
    assert run("spacecast-data", *words, "only=README.md").code == 0
    hub.repositories[NAME].branches = {"a" * 40: "a" * 40}
    hub.repositories[NAME].commit = "b" * 40
    result = run("spacecast-data", *words, "revision=main")
    assert result.code == 2
    assert f"holds {NAME} at revision {'a' * 40}, not {'b' * 40}: give another folder" in result.line
    assert f"(dataset, revision {'a' * 40})" in run("spacecast-data", *words, "only=empty").out
    assert run("spacecast-data", "download", "name=spacecast-data", "output=new", "revision=main").code == 0
    assert note(workplace / "new")["revision"] == "b" * 40


def test_a_folder_holds_one_repository(run, workplace, hub):
    hub.repositories["me/mine"] = Repository("datasets", {"README.md": b"mine"})
    assert run("spacecast-data", "download", "name=spacecast-data", "output=here", "only=empty").code == 0
    result = run("spacecast-data", "download", "name=me/mine", "output=here")
    assert result.code == 2
    assert f"holds {NAME}; give another folder for me/mine" in result.line
    (workplace / "here" / RECORD).write_text("{}")
    assert run("spacecast-data", "download", "name=me/mine", "output=here").code == 0
    (workplace / "here" / RECORD).write_text('{"repository": 3}')
    assert "is not as it was written" in run("spacecast-data", "download", "name=me/mine", "output=here").line


def test_files_of_other_origin_are_not_replaced_unless_that_is_asked_for(run, workplace, hub):
    (workplace / "here").mkdir()
    (workplace / "here" / "README.md").write_text("mine")
    (workplace / "here" / "empty").touch()  # as it should be
    words = ["download", "name=spacecast-data", "output=here"]
    result = run("spacecast-data", *words)
    assert result.code == 2
    assert "holds a file README.md that is another one than the published" in result.line
    assert contents(workplace / "here") == {"README.md": b"mine", "empty": b""}
    assert hub.asked == []
    assert run("spacecast-data", *words, "overwrite=true").code == 0
    assert contents(workplace / "here") == FILES


def test_names_and_places(run, workplace, hub):
    """By a datastore's own word, of a model, of anybody."""
    hub.repositories |= {
        "deinal/spacecast-data-small": Repository("datasets", {"vlasiator_run.yaml": b"a: 1"}),
        "deinal/spacecast-models": Repository("models", {"graph_fm_multiscale.ckpt": b"weights"}),
        "me/mine": Repository("models", dict.fromkeys(("model.safetensors", "config.json", "SHA256SUMS"), b"")),
    }
    result = run("spacecast-data", "download", "datastore=vlasiator_small")
    assert result.code == 0, result.err
    small = workplace / "data" / "vlasiator_small"
    assert contents(small).keys() == {"vlasiator_run.yaml"}
    assert f"inspect datastore=vlasiator_small datastore.root={small}" in result.out
    result = run("spacecast-data", "download", "name=spacecast-models", "paths.data_dir=my data")
    models = workplace / "my data" / "spacecast-models"
    assert note(models)["kind"] == "model"
    assert f"checkpoint={models}/graph_fm_multiscale.ckpt'" in result.out
    assert "graph.path=DIR/graph/multiscale" in result.out
    result = run("spacecast-data", "download", "name=me/mine")
    assert f"spacecast-forecast checkpoint={workplace}/data/mine datastore.root=DIR" in result.out
    assert set(PUBLISHED.values()) == {*hub.repositories} - {"me/mine"}
    assert next_commands(["README.md"], workplace) == []


# --- transfers that fail -----------------------------------------------------------------------------------------


def test_a_transfer_that_is_cut_goes_on_where_it_was(run, workplace, hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.cut = {"run_1.zarr/T/0.0.0": 1}
    result = run("spacecast-data", "download", "name=spacecast-data", "output=here")
    assert (result.code, result.err) == (0, "")
    ranges = [asked for method, path, asked in hub.asked if (method, path) == ("GET", "run_1.zarr/T/0.0.0")]
    assert ranges == ["", "bytes=2500-"]
    assert contents(workplace / "here") == FILES


@pytest.mark.parametrize("path", ["run_1.zarr/T/0.0.0", "README.md"])
def test_a_file_that_comes_damaged_is_fetched_a_second_time_and_then_named(run, workplace, hub, path):
    hub.damaged = {path: 1}
    result = run("spacecast-data", "download", "name=spacecast-data", "output=here")
    assert (result.code, result.err) == (0, "")
    assert f"{path} has come damaged; fetching it again" in result.out
    assert contents(workplace / "here") == FILES
    hub.damaged = {path: 9}
    result = run("spacecast-data", "download", "name=spacecast-data", "output=there")
    assert result.code == 2
    assert f"{path} of {NAME} comes with another check sum than the hub says it has" in result.line
    found = contents(workplace / "there")
    assert path not in found
    assert found.items() <= FILES.items()
    assert not note(workplace / "there")["complete"]
    hub.damaged.clear()
    assert run("spacecast-data", "download", "name=spacecast-data", "output=there").code == 0
    assert contents(workplace / "there") == FILES


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_an_interrupted_download_goes_on_with_what_is_missing(run, workplace, hub, number, code):
    """While one transfer hangs in the middle; whole files are never fetched again, nothing half-written is seen."""
    held = "run_2.zarr/T/0.0.0"
    hub.held = {held}
    words = ["download", "name=spacecast-data", "output=here"]
    process = subprocess.Popen([sys.executable, "-m", "spacecast.app.data", *words], stderr=subprocess.PIPE, text=True)
    try:
        assert hub.holding.wait(120)
        folder = workplace / "here"
        while len(contents_in_place(folder)) < len(FILES) - 1:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == code
    if number == signal.SIGTERM:
        assert err.count("\n") == 1
        assert "interrupted by SIGTERM; the same command goes on" in err
    assert contents_in_place(folder) == {path: data for path, data in FILES.items() if path != held}
    assert not note(folder)["complete"]
    hub.held, hub.asked[:] = set(), []
    hub.go.set()
    result = run("spacecast-data", *words)
    assert (result.code, hub.fetched()) == (0, [held])
    assert "of which 3 kB in 1 file are to be fetched" in result.out
    assert contents(folder) == FILES  # and nothing besides


def contents_in_place(folder: Path) -> dict[str, bytes]:
    """All but what is under way."""
    found = contents(folder) if folder.is_dir() else {}
    return {path: data for path, data in found.items() if not path.startswith((PARTIAL, LOCK))}


# --- what is refused ---------------------------------------------------------------------------------------------


def refused(result, *words: str) -> None:
    assert result.code == 2, result
    for word in words:
        assert word in result.line


def test_no_room_says_how_much(run, workplace, hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 990_000, 10_000))
    words = ["download", "name=spacecast-data", "output=here"]
    refused(run("spacecast-data", *words), f"{NAME} needs 13.9 kB, {workplace}/here has 10 kB free: make room")
    assert hub.asked == []
    assert run("spacecast-data", *words, "only=run_1.zarr/T/0.0.0").code == 0  # 5 kB
    assert run("spacecast-data", *words).code == 0  # what is there needs no room
    assert [in_words(size) for size in (0, 999, 1000, 2.5e6, 4.2e11, 3e13)] == [
        "0 B", "999 B", "1 kB", "2.5 MB", "420 GB", "30 TB",
    ]  # fmt: skip


def test_no_network(run, workplace, hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = run("spacecast-data", "download", "name=spacecast-data")
    refused(result, "http://127.0.0.1:9 cannot be reached (ConnectError", "check the network or HF_ENDPOINT")


def test_switched_off(run, workplace, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub_library.close_session()
    try:
        refused(run("spacecast-data", "download", "name=spacecast-data"), "HF_HUB_OFFLINE is set", "unset it")
    finally:
        hub_library.close_session()


def test_no_such_repository(run, workplace, hub):
    refused(run("spacecast-data", "download", "name=me/mine"), f"{hub.url} has no me/mine, or keeps it private")


def test_private_ones_open_with_a_token(run, workplace, hub, monkeypatch):
    hub.repositories[NAME].private = True
    words = ["download", "name=spacecast-data", "output=here"]
    refused(run("spacecast-data", *words), f"has no {NAME}, or keeps it private", "hf auth login (HF_TOKEN)")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert run("spacecast-data", *words).code == 0


def test_gated_ones_say_where_their_terms_are(run, workplace, hub, monkeypatch):
    hub.repositories[NAME].gated = True
    words = ["download", "name=spacecast-data", "output=here"]
    refused(run("spacecast-data", *words), f"{NAME} is gated: accept its terms at {hub.url}/{NAME}", "HF_TOKEN")
    assert contents(workplace / "here") == {}
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert run("spacecast-data", *words).code == 0
    assert contents(workplace / "here") == FILES


@pytest.mark.parametrize(
    ("status", "message"), [(401, "refuses"), (403, "refuses"), (418, "answers 418 for"), (404, "")]
)
def test_answers_of_other_kinds(run, workplace, hub, status, message):
    hub.status = status
    refused(
        run("spacecast-data", "download", "name=spacecast-data"), f"{hub.url} {message or 'answers 404 for'} {NAME}"
    )


def test_an_address_that_is_not_the_hubs(run, workplace, hub):
    hub.status = 200
    refused(run("spacecast-data", "download", "name=spacecast-data"), f"{hub.url} does not answer as the hub does")


@pytest.mark.parametrize("revision", ["v9", "c" * 40, "../x"])
def test_no_such_revision(run, workplace, hub, revision):
    words = ["download", "name=spacecast-data", f"revision={revision}"]
    refused(run("spacecast-data", *words), f"{NAME} has no revision {revision}; give a commit, a branch or a tag")


@pytest.mark.parametrize(
    "path", ["../evil", "a/../../evil", "/evil", "a//b", "a/./b", "a\\..\\b", RECORD, f"{PARTIAL}/x"]
)
def test_names_that_lead_elsewhere(run, workplace, hub, path):
    hub.repositories[NAME].files[path] = b"evil"
    result = run("spacecast-data", "download", "name=spacecast-data", "output=here")
    refused(result, "holds a file", "nothing")
    assert contents(workplace) == {}


def test_a_file_that_is_listed_and_not_there(run, workplace, hub, monkeypatch):
    from spacecast.data import hub as own

    listed = own.list_repository(NAME)
    more = (*listed.files, own.RemoteFile("gone", 3, "0" * 40))
    monkeypatch.setattr(
        "spacecast.data.download.list_repository", lambda *_: own.Repository(NAME, *listed_as(listed), more)
    )
    refused(run("spacecast-data", "download", "name=spacecast-data"), f"{hub.url} answers 404 for {NAME}")


def listed_as(repository) -> tuple[str, str]:
    return repository.kind, repository.revision


def test_without_the_library(run, workplace, hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = run("spacecast-data", "download", "name=spacecast-data")
    refused(result, 'spacecast-data download needs huggingface_hub: pip install "spacecast[hub]"')


def test_a_folder_in_use(run, workplace, hub):
    (workplace / "here").mkdir()
    code = "import sys, fcntl; f = open(sys.argv[1], 'a'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(workplace / "here" / LOCK)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        refused(run("spacecast-data", "download", "name=spacecast-data", "output=here"), "is in use by another process")
        other.communicate(b"\n")


MISTAKES = {
    "nothing": ([], "these data are simulated (spacecast-data simulate); for published ones give name=spacecast-data"),
    "no origin": (["simulation=none"], "datastore=magnetosphere does not say where it is published"),
    "a name that is nearly right": (["name=spacecast-dat"], "did you mean 'spacecast-data'?"),
    "no owner": (["name=mine"], "there is no name=mine; "),
    "a path": (["name=../../etc"], "there is no name=../../etc"),
    "a name that the hub has not": (["name=a/.b"], "there is no name=a/.b"),
    "a name that the library refuses": (["name=a/b--c"], "name=a/b--c names no repository; give OWNER/NAME"),
    "a file in the place": (["name=spacecast-data", "output=file"], "output=", "file: cannot write there"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(run, workplace, hub, mistake):
    (workplace / "file").touch()
    words, *messages = MISTAKES[mistake]
    refused(run("spacecast-data", "download", *words), *messages)
    assert hub.asked == []


# --- an exported model -------------------------------------------------------------------------------------------


def test_an_exported_model_is_used_as_it_comes(run, workplace, hub, tiny_spec, tiny_graph):
    config = {"model": {"_target_": "spacecast.models.persistence.Persistence", "_partial_": True}}
    weights = {"w": torch.arange(300.0)}
    folder = write_exported(workplace / "mine", weights, describe(config, tiny_spec, tiny_graph), {})
    hub.repositories["me/mine"] = Repository("models", contents(folder))
    assert run("spacecast-data", "download", "name=me/mine").code == 0
    found = load_checkpoint(workplace / "data" / "mine")
    assert torch.equal(model_weights(found)["w"], weights["w"])
    assert found["spacecast"]["graph"]["hash"] == tiny_graph.content_hash


# --- the small data set ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_set(prepared_root, tmp_path_factory, write_graph) -> dict[str, bytes]:
    """The layout of the small published data set: a raw run, a prepared one of zarr format 2, YAML files, a graph."""
    folder = tmp_path_factory.mktemp("small")
    shutil.copytree(prepared_root / "run_1.zarr", folder / "run.zarr")
    with xr.open_zarr(prepared_root / "static.zarr", chunks=None) as static:
        save(static.load().drop_encoding(), folder / "static.zarr", 2)
    with xr.open_zarr(prepared_root / "vlasiator_run_1.zarr", chunks=None) as prepared:
        kept = [name for name in prepared.variables if not name.endswith(("long_name", "source_dataset"))]
        plain = prepared.load().drop_encoding()[[name for name in kept if not name.startswith("mask__")]]
    save(plain.assign_attrs({}).drop_attrs(deep=False), folder / "vlasiator_run.zarr", 2)
    text = (prepared_root / "vlasiator_run_1.yaml").read_text().replace("run_1.zarr", "run.zarr")
    (folder / "vlasiator_run.yaml").write_text(text)
    (folder / "vlasiator_config.yaml").write_text("datastore:\n  kind: mdp\n  config_path: vlasiator_run.yaml\n")
    grid = RunDatastore(prepared_root, [1]).spec.grid
    (folder / "graph").mkdir()
    write_graph(MeshGraphBuilder("simple", coarsening=2).build(grid), folder / "graph" / "simple")
    (folder / "graph" / "simple" / "simple.png").write_bytes(b"a picture")
    assert (folder / "run.zarr" / ".zgroup").is_file()
    assert (folder / "vlasiator_run.zarr" / ".zgroup").is_file()
    return contents(folder)


@pytest.mark.slow
def test_the_small_data_set_is_used_as_it_comes(run, workplace, hub, small_set):
    hub.repositories["deinal/spacecast-data-small"] = Repository("datasets", small_set)
    result = run("spacecast-data", "download", "name=spacecast-data-small")
    assert (result.code, result.err) == (0, "")
    folder = workplace / "data" / "spacecast-data-small"
    assert contents(folder) == small_set
    command, *words = result.out.strip().splitlines()[-1].split()
    assert (command, words[0]) == ("spacecast-data", "inspect")
    result = run(command, *words, "picture=null")
    assert (result.code, result.err) == (0, "")
    assert f"{X.size} x 9 plane" in result.out
    assert "newer" not in result.out
    words = [
        *words[1:], "graph=stored", f"graph.path={folder}/graph/simple", "trainer=cpu", "logger=none",
        "model=graph_fm", "model.hidden_dim=8", "model.processor_layers=1", "data.batch_size=4", "data.val_steps=1",
        "evaluation.steps=1", "evaluation.examples=0", "evaluation.regions={}", "schedule.rollout_steps=1",
    ]  # fmt: skip
    result = run("spacecast-train", *words, "dry_run=true", "paths.run_dir=dry")
    assert (result.code, result.err) == (0, "")
    result = run("spacecast-train", *words, "trainer.max_epochs=1", "data.limit_windows=4", "paths.run_dir=run")
    assert result.code == 0, result.err
    scores = np.genfromtxt(workplace / "run" / "scores.csv", delimiter=",", skip_header=1, usecols=5)
    assert scores.size
    found = contents_of_published(folder, small_set)
    assert found == small_set


def contents_of_published(folder: Path, published: dict[str, bytes]) -> dict[str, bytes]:
    """What is left of the published files; work beside them is fine."""
    return {path: data for path, data in contents(folder).items() if path in published}
