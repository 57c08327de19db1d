"""MLflow's pages in a real browser: what is drawn first tells which run is better, by how much, at which lead.

Needs the program chromium and `pip install "spacecast[ui-test]"`. With SPACECAST_SCREENSHOTS=docs/images the pictures
of docs/tracking.md are made anew (`make screenshots`).
"""

import csv
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.core.types import ScoreRow
from spacecast.tracking import logger as tracking
from spacecast.tracking.names import named_apart
from spacecast.tracking.pages import (
    answers,
    charts_address,
    comparison_address,
    newest_experiment,
    run_address,
    served,
)
from spacecast.tracking.store import load_mlflow

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SCORES, TRAININGS = (Path(__file__).with_name(f"{what}_of_four_runs.csv") for what in ("scores", "trainings"))
RUNS = {  # which made these files
    "graph_unet": ["experiment=smoke"],
    "keisler": ["experiment=smoke", "model=keisler", "graph=multiscale", "loss=huber", "seed=2"],
    "graph_efm": ["experiment=smoke", "model=graph_efm"],
    "persistence": ["experiment=smoke", "model=persistence", "~model.hidden_dim"],
}
PARAMETERS = {"graph_unet": 84_168, "keisler": 15_932, "graph_efm": 19_404, "persistence": 0}
ON_MESH = ("keisler", "graph_efm")
NAMES = ["graph_unet smoke", "keisler multiscale huber seed=2 smoke", "graph_efm smoke", "persistence smoke"]
SKILL = ("skill", "mean")
FIRST = ["test/rmse_ratio", "test/rmse_ratio_by_lead_s", "test/skill_by_lead_s"]
OF_ENSEMBLES = ["test/skill_crps", "test/skill_crps_by_lead_s", "test/spread_skill_ratio_by_lead_s"]
CHARTS = "[data-testid=experiment-view-compare-runs-card]"
DESCRIPTION = "[data-component-id='mlflow.experiment.metadata_editor.expand_button']"
SECTIONS = "[data-testid=experiment-view-compare-runs-section-header]"
LINES, BARS = ".scatterlayer .trace", ".barlayer .point"
FOREVER = 600_000  # ms; only a page that never comes is given up
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def four_runs(chromium: str, fresh_store: Path, tmp_path_factory) -> tuple[str, str, list[str]]:
    """A store of four runs: its address, the number of the experiment, and the runs."""
    folder = tmp_path_factory.mktemp("pages")
    uri = f"sqlite:///{shutil.copy(fresh_store, folder / 'mlflow.db')}"
    for model, words in RUNS.items():
        log_run(uri, model, words, folder)
    experiment = newest_experiment(uri)
    found = load_mlflow().MlflowClient(uri).search_runs([experiment], order_by=["attributes.start_time"])
    return uri, experiment, [run.info.run_id for run in found]


def rows_of(path: Path, model: str) -> list[dict[str, str]]:
    """What a file holds of a run."""
    with path.open() as stream:
        return [row for row in csv.DictReader(stream) if row["run"] == model]


def rmse_ratio(model: str) -> float:
    """The number that runs are ranked by."""
    skills = [float(row["value"]) for row in rows_of(SCORES, model) if (row["metric"], row["variable"]) == SKILL]
    return 1 - sum(skills) / len(skills)


def log_run(uri: str, model: str, words: list[str], folder: Path) -> None:
    """Record a training as it was, in the order in which the command does."""
    places = [f"paths.run_dir={folder}", f"paths.data_dir={folder}"]
    plain = to_plain(job_part(compose("train", [*words, *places], conf_dir())))
    section = plain["logger"]
    name = named_apart(section["run_name"], words)
    logger = tracking.RunLogger(uri, section["experiment"], name, system_metrics_seconds=0, choices=section["choices"])
    names = ("metric", "variable", "units")
    scores = [
        ScoreRow(*(row[name] for name in names), float(row["lead_s"]), "all", float(row["value"]))
        for row in rows_of(SCORES, model)
    ]
    with tracking.tracked(logger):
        tracking.log_score_to_come(logger)
        tracking.log_params(logger, plain, on_mesh=model in ON_MESH, parameters=PARAMETERS[model])
        for row in rows_of(TRAININGS, model):
            logger.log_metrics({row["metric"]: float(row["value"])}, int(row["step"]))
        tracking.log_scores(logger, scores)
        tracking.log_artifact(logger, REPOSITORY / "docs" / "images" / "rmse.png")


@pytest.fixture(scope="module")
def base(four_runs) -> Iterator[str]:
    """The address of a server of these runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with served(four_runs[0], port) as server:
        while not answers(address):
            assert server.poll() is None
        yield address


@pytest.fixture
def page(browser_page):
    """A page on which MLflow's assistant stays closed."""
    browser_page.set_default_timeout(FOREVER)
    browser_page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
    return browser_page


def take(page, name: str, folder: Path) -> None:
    """A screenshot, small enough for a repository."""
    target = Path(os.environ.get("SPACECAST_SCREENSHOTS") or folder).absolute() / f"mlflow_{name}.png"
    page.screenshot(path=target)
    with Image.open(target) as picture:
        picture.convert("RGB").quantize(64).save(target, optimize=True)
    assert target.stat().st_size < MOST_BYTES


def wait_for(page, selector: str, count: int) -> None:
    """Until so many of these are drawn."""
    page.wait_for_function("([what, count]) => document.querySelectorAll(what).length >= count", arg=[selector, count])


def titles(page) -> list[str]:
    """Of the charts that are drawn, from the top."""
    return [text.splitlines()[0] for text in page.locator(CHARTS).all_inner_texts()]


def cut_off(page, text: str) -> list[str]:
    """Elements that show no more than the beginning of this text."""
    found = page.get_by_text(text, exact=True).all()
    assert found
    return [text for each in found if each.evaluate("e => e.scrollWidth > e.clientWidth + 1")]


def test_the_first_charts_of_an_experiment_tell_which_run_is_better(page, base, four_runs, tmp_path):
    page.goto(charts_address(base, four_runs[1]))
    wait_for(page, f"{CHARTS} {BARS}", 4)
    wait_for(page, f"{CHARTS} {LINES}", 8)
    take(page, "charts", tmp_path)
    assert page.locator(SECTIONS).first.inner_text().split()[0] == "test"
    assert titles(page)[:6] == [*FIRST, *OF_ENSEMBLES]
    assert [title for title in [*FIRST, *OF_ENSEMBLES[:2]] if cut_off(page, title)] == []
    for name in NAMES:
        assert page.get_by_text(name, exact=True).count() >= 1
    ratios = page.locator(CHARTS).first.inner_text()
    assert [model for model in RUNS if f"{rmse_ratio(model):.2f}" not in ratios] == []  # by how much
    leads = page.locator(CHARTS).nth(1).inner_text()
    assert {"20", "30", "40", "Step"} <= set(leads.split())  # at which lead [s]
    text = page.locator("body").inner_text()
    assert "Lowest test/rmse_ratio is best: RMSE / RMSE of persistence, which is 1. Step of .._by_lead_s: lead" in text
    colours = page.locator(f"{CHARTS} {BARS} path").evaluate_all("all => all.map(e => getComputedStyle(e).fill)")
    assert len(set(colours[:4])) == 4


def test_the_description_of_an_experiment_explains_every_metric(page, base, four_runs, tmp_path):
    """With units, and what is perfect and what persistence; test_description.py tells that none is missing."""
    page.goto(charts_address(base, four_runs[1]))
    page.locator(DESCRIPTION).click()
    table = page.locator("table", has_text="What it is")
    table.wait_for()
    take(page, "description", tmp_path)
    heading, *rows = [row.locator("th, td").all_inner_texts() for row in table.locator("tr").all()]
    assert heading == ["Metric", "What it is", "Units", "Perfect", "Persistence"]
    assert all(what and units for _, what, units, *_ in rows)
    assert [name for name, *_ in rows if cut_off(page, name)] == []
    assert "which is 1" in page.locator("body").inner_text()


def test_a_run_shows_its_curves_over_lead_time(page, base, four_runs, tmp_path):
    page.goto(run_address(base, four_runs[1], four_runs[2][0]))
    wait_for(page, f"{CHARTS} {LINES}", 2)
    take(page, "run", tmp_path)
    assert page.get_by_text(NAMES[0], exact=True).first.is_visible()
    assert titles(page)[:3] == [name.removeprefix("test/") for name in FIRST]
    sections = [text.split()[0] for text in page.locator(SECTIONS).all_inner_texts()]
    assert sections[:3] == ["test", "test_rmse_by_lead_s", "test_skill_by_lead_s"]


def test_the_comparison_of_four_runs_begins_with_what_they_differ_in_and_the_score(page, base, four_runs, tmp_path):
    page.set_viewport_size({"width": 1440, "height": 2000})  # what lies below it is not in the page
    page.goto(comparison_address(base, four_runs[1], four_runs[2]))
    wait_for(page, ".js-plotly-plot .main-svg", 1)
    for last in (FIRST[-1], "settings/data/batch_size", "rmse.png"):
        page.get_by_text(last, exact=True).last.wait_for()
    take(page, "compare", tmp_path)
    text = page.locator("body").inner_text()
    drawn = page.locator(".js-plotly-plot").first.inner_text()
    assert re.findall(r"^(graph|loss|model|\w+/\w+)$", drawn, re.MULTILINE) == ["graph", "loss", "model", FIRST[0]]
    order = ["Parameters", "datastore", "graph", "loss", "model", "parameters", "seed", "settings/data/batch_size"]
    order += ["Metrics", *FIRST, "Artifacts", "rmse.png"]
    below = re.compile(r"[\s\S]*?".join(rf"^{re.escape(word)}\b" for word in order), re.MULTILINE)
    assert below.search(text, text.index("Run details"))
    assert len(re.findall(r"^seed\b", text, re.MULTILINE)) == 1
    assert re.search(r"^parameters\s+" + r"\s+".join(map(str, PARAMETERS.values())) + r"\b", text, re.MULTILINE)
    for group in ("graph", "loss", "model"):
        assert len(set(re.findall(rf"^{group}\s+(\w+)\s+(\w+)\s+(\w+)\s+(\w+)$", text, re.MULTILINE)[0])) > 1
    assert "No common artifacts" not in text
