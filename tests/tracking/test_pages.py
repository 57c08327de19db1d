"""MLflow's pages in a real browser: what is drawn first tells which run is better, by how much, at which lead.

Needs the program chromium and `pip install .[ui-test]`. With SPACECAST_SCREENSHOTS=docs/images the pictures of the
documentation are made anew.
"""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from spacecast.config.compose import compose, conf_dir, job_part, to_plain
from spacecast.core.types import ScoreRow
from spacecast.tracking.logger import RunLogger, log_artifact, log_params, log_scores, tracked
from spacecast.tracking.names import named_apart
from spacecast.tracking.pages import charts_address, comparison_address, newest_experiment, run_address
from spacecast.tracking.store import load_mlflow

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
SCORES = Path(__file__).with_name("scores_of_four_runs.csv")  # of experiment=smoke
RUNS = {
    "graph_unet": ["model=graph_unet"],
    "keisler": ["model=keisler", "graph=multiscale", "loss=huber", "seed=2"],
    "graph_efm": ["model=graph_efm"],
    "persistence": ["model=persistence"],
}
CHARTS = "[data-testid=experiment-view-compare-runs-card]"
SECTIONS = "[data-testid=experiment-view-compare-runs-section-header]"
LINES, BARS = ".scatterlayer .trace", ".barlayer .point"
FOREVER = 3_600_000  # ms; only a page that never comes is given up
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def chromium() -> str:
    """The browser's path."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install .[ui-test]")
    path = os.environ.get("SPACECAST_CHROMIUM") or shutil.which("chromium")
    if not path:
        pytest.skip("there is no program chromium: apt-get install chromium, or set SPACECAST_CHROMIUM")
    return path


@pytest.fixture(scope="module")
def four_runs(chromium: str, fresh_store: Path, tmp_path_factory) -> tuple[str, str, list[str]]:
    """A store of four runs: its address, the number of the experiment, and the runs."""
    folder = tmp_path_factory.mktemp("pages")
    uri = f"sqlite:///{shutil.copy(fresh_store, folder / 'mlflow.db')}"
    with SCORES.open() as stream:
        rows = list(csv.DictReader(stream))
    baseline = [row for row in rows if row["metric"] == "persistence_mae"]
    for model, words in RUNS.items():
        own = [row for row in rows if row["run"] == model and row["metric"] != "persistence_mae"]
        log_run(uri, words, [*own, *baseline], folder)
    experiment = newest_experiment(uri)
    found = load_mlflow().MlflowClient(uri).search_runs([experiment], order_by=["attributes.start_time"])
    return uri, experiment, [run.info.run_id for run in found]


def log_run(uri: str, words: list[str], rows: list[dict[str, str]], folder: Path) -> None:
    """Record a run as a training does."""
    places = [f"paths.run_dir={folder}", f"paths.data_dir={folder}"]
    plain = to_plain(job_part(compose("train", [*words, *places], conf_dir())))
    section = plain["logger"]
    name = named_apart(section["run_name"], words)
    logger = RunLogger(uri, section["experiment"], name, system_metrics_seconds=0, choices=section["choices"])
    names = ("metric", "variable", "units")
    scores = [ScoreRow(*(r[name] for name in names), float(r["lead_s"]), "all", float(r["value"])) for r in rows]
    with tracked(logger):
        log_params(logger, plain, parameters=20_000)
        for step in range(1, 4):
            logger.log_metrics({"train/loss": 1 / step, "val/rmse_ratio": 0.9 + 0.1 / step, "epoch": step}, step)
        log_scores(logger, scores)
        log_artifact(logger, REPOSITORY / "docs" / "images" / "rmse.png", "figures")


@pytest.fixture(scope="module")
def served_at(four_runs) -> Iterator[str]:
    """The address that `make ui` prints, its server running; afterwards nothing of it is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "scripts/ui.py", four_runs[0], "--port", str(port)]
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(words, cwd=REPOSITORY, env=variables, stdout=subprocess.PIPE, text=True) as script:
        try:
            yield next(line.strip() for line in script.stdout if line.startswith("http"))
        finally:
            children = psutil.Process(script.pid).children(recursive=True)
            script.send_signal(signal.SIGINT)
            script.stdout.read()
            assert script.wait() == 0
            assert len(children) >= 1
            assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


@pytest.fixture
def page(chromium: str, served_at: str) -> Iterator:
    """A page of the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], timeout=FOREVER
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(FOREVER)
        page.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        yield page
        browser.close()


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


def test_the_first_charts_of_an_experiment_tell_which_run_is_better(page, served_at, four_runs, tmp_path):
    assert served_at == charts_address(served_at.partition("/#")[0], four_runs[1])
    page.goto(served_at)
    wait_for(page, f"{CHARTS} {BARS}", 4)
    wait_for(page, f"{CHARTS} {LINES}", 8)
    take(page, "charts", tmp_path)
    assert titles(page)[:3] == ["rmse_ratio", "rmse_ratio_by_lead_s", "skill_by_lead_s"]
    assert page.locator(SECTIONS).first.inner_text().split()[0] == "test"
    assert page.get_by_text("keisler-multiscale-huber seed=2").count() >= 1


def test_a_run_shows_its_curves_over_lead_time(page, served_at, four_runs, tmp_path):
    page.goto(run_address(served_at.partition("/#")[0], four_runs[1], four_runs[2][1]))
    wait_for(page, f"{CHARTS} {LINES}", 2)
    take(page, "run", tmp_path)
    assert titles(page)[:3] == ["rmse_ratio", "rmse_ratio_by_lead_s", "skill_by_lead_s"]


def test_four_runs_beside_each_other(page, served_at, four_runs, tmp_path):
    page.goto(comparison_address(served_at.partition("/#")[0], four_runs[1], four_runs[2]))
    wait_for(page, ".js-plotly-plot .main-svg", 1)
    page.get_by_text("model/parameters").first.wait_for()
    take(page, "compare", tmp_path)
    text = page.locator("body").inner_text()
    for shown in ("keisler", "multiscale", "huber", "graph_efm", "ensemble_crps", "test/rmse_ratio"):
        assert shown in text
    assert text.count("\nseed\n") <= 1
