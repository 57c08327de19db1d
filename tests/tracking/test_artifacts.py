"""Artifacts lie beside the store, whatever its folder is called and wherever it has been moved."""

import shutil
from pathlib import Path

import pytest

from spacecast.core.errors import UserError
from spacecast.tracking.artifacts import local_folder, location_of
from spacecast.tracking.journal import RunSummary
from spacecast.tracking.mlflow_run import MlflowRun
from spacecast.tracking.store import check_uri, ensure_store, load_mlflow, sqlite_path

NAMES = (
    "x#y", "ä ö", "it's", "a;b", "a b+c", "a&b=c", "a:b", "100%", "%zz", "[x]", "a@b", "~t", "a\\b", 'q"q', "$HOME",
    "データ", "a,b", "(x)", "*", "!", "%", "a|b", "{x}", "-x", "é", "#", "50% off",
)  # fmt: skip


def write(store: Path, run: str = "one", experiment: str = "space weather/α") -> MlflowRun:
    """A run with an artifact."""
    summary = RunSummary(run=run, experiment=experiment, name=run, began=1)
    delivery = MlflowRun(f"sqlite:///{store}", summary, folder=store.parent)
    delivery.send([{"time": 1, "text": {"name": "notes/a.txt", "text": run}}])
    assert delivery.postponed == 0
    return delivery


def read(store: Path, run_id: str, scratch: Path) -> str:
    """The artifact as MLflow finds it."""
    client = load_mlflow().MlflowClient(f"sqlite:///{store}")
    scratch.mkdir(exist_ok=True)
    return Path(client.download_artifacts(run_id, "notes/a.txt", str(scratch))).read_text()


@pytest.fixture
def make(fresh_store, tmp_path):
    """A fresh store in a folder of that name."""

    def made(name: str) -> Path:
        folder = tmp_path / "projects" / name
        folder.mkdir(parents=True)
        shutil.copy(fresh_store, folder / "mlflow.db")
        return folder / "mlflow.db"

    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_project_may_have_such_a_name(make, tmp_path, name):
    store = make(name)
    delivery = write(store)
    assert [path.name for path in (tmp_path / "projects").iterdir()] == [name]
    assert list(store.parent.glob("mlruns/*/*/artifacts/notes/a.txt"))
    assert read(store, delivery.run_id, tmp_path / "scratch") == "one"
    assert sorted(path.name for path in store.parent.iterdir()) == ["mlflow.db", "mlruns"]


@pytest.mark.parametrize("name", ["a%41b", "%41", "%2F", "what?", "?", "a?b=c", "a?b=c&d=e", "%25"])
def test_names_that_mlflow_would_read_otherwise_are_refused_by_the_sign(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    sign = "?" if "?" in name else name[name.index("%") :][:3]
    for call in (check_uri, ensure_store):
        with pytest.raises(UserError) as caught:
            call(f"sqlite:///{folder}/mlflow.db")
        assert f"has {sign!r} in it" in str(caught.value)
        assert "logger.tracking_uri=sqlite:////OTHER/FOLDER/mlflow.db" in str(caught.value)
    assert [list(folder.iterdir()), list(tmp_path.iterdir())] == [[], [folder]]


def test_options_of_an_address_are_no_part_of_the_path():
    assert check_uri("sqlite:////a/m.db?timeout=9&cache=x") == "sqlite:////a/m.db?timeout=9&cache=x"
    assert sqlite_path("sqlite:////a/m.db?timeout=9&cache=x") == Path("/a/m.db")
    assert sqlite_path("sqlite:////what?/a=b/m.db") == Path("/what?/a=b/m.db")


@pytest.mark.slow
def test_a_store_is_made_in_a_folder_of_such_a_name(tmp_path):
    store = tmp_path / "it's [a] 100% #1; ä&b=c+d" / "mlflow.db"
    write(store)
    assert list(store.parent.glob("mlruns/*/*/artifacts/notes/a.txt"))
    assert list(tmp_path.iterdir()) == [store.parent]


@pytest.mark.parametrize("names", [("before", "after"), ("be#fore", "after"), ("before", "af ter;#"), ("a b", "ä")])
def test_a_project_that_was_renamed_keeps_its_artifacts_together(make, tmp_path, names, caplog):
    from mlflow.tracking._tracking_service import utils

    old = make(names[0])
    first = write(old).run_id
    new = old.parent.rename(old.parent.with_name(names[1])) / "mlflow.db"
    caplog.set_level("INFO")
    second = write(new, "two").run_id
    assert not old.parent.exists()
    assert [read(new, run, tmp_path / "s") for run in (first, second)] == ["one", "two"]
    assert [message for message in caplog.messages if "was moved" in message] == [
        f"the MLflow store {new} was moved; artifacts lie in {new.parent / 'mlruns'} now"
    ]
    caplog.clear()
    utils._artifact_repos_cache.clear()  # of this process, which has seen the old place
    write(new, "three")
    write(new, "one")  # goes on
    assert not old.parent.exists()
    assert not [message for message in caplog.messages if "was moved" in message]


def test_a_copied_project_leaves_the_original_alone(make, tmp_path):
    old = make("original")
    first = write(old).run_id
    new = Path(shutil.copytree(old.parent, old.parent.with_name("copy"))) / "mlflow.db"
    before = sorted(old.parent.rglob("*"))
    write(new, "two")
    assert sorted(old.parent.rglob("*")) == before
    shutil.rmtree(old.parent)
    assert read(new, first, tmp_path / "s") == "one"


def test_artifacts_that_were_put_elsewhere_on_purpose_stay_there(make, tmp_path):
    store = make("project")
    client = load_mlflow().MlflowClient(f"sqlite:///{store}")
    there = tmp_path / "there" / "mlruns" / "x"
    there.mkdir(parents=True)
    places = {"bucket": "s3://bucket/mlruns/x", "big": str(tmp_path / "big"), "shared": str(there)}
    for name, place in places.items():
        client.create_experiment(name, artifact_location=place)
    ensure_store(f"sqlite:///{store}")
    found = {each.name: each.artifact_location for each in client.search_experiments()}
    assert {name: found[name] for name in places} == places
    write(store, experiment="big")
    assert list((tmp_path / "big").glob("*/artifacts/notes/a.txt"))


def test_the_same_project_by_another_road(make, tmp_path):
    store = make("project")
    write(store)
    (tmp_path / "link").symlink_to(store.parent)
    write(tmp_path / "link" / "mlflow.db", "two")
    client = load_mlflow().MlflowClient(f"sqlite:///{store}")
    location = client.get_experiment_by_name("space weather/α").artifact_location
    assert local_folder(location).parent == store.parent / "mlruns"


@pytest.mark.parametrize("name", [*NAMES, "a%41b", "what?"])
def test_a_place_and_its_address(name):
    folder = Path("/x") / name / "mlruns"
    assert local_folder(location_of(folder)) == folder


def test_plain_places_are_plain():
    assert location_of(Path("/a/b-c_d.e/mlruns")) == "/a/b-c_d.e/mlruns"
    assert [local_folder(place) for place in ("s3://b/x", "mlflow-artifacts:/1", "file://host/x", "")] == [None] * 4
