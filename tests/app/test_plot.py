"""`spacecast-plot` as it is typed, on a small ensemble that was trained, scored and left example forecasts."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

from spacecast.app.plot import COMMAND
from spacecast.plots import canvas
from spacecast.plots.pictures import known_pictures

pytestmark = pytest.mark.slow  # for the training that they share

ENSEMBLE = ("model=graph_efm", "evaluation.members=3", "evaluation.steps=3", "evaluation.split=all",
            "evaluation.windows=2", "evaluation.examples=1")  # fmt: skip


@pytest.fixture(autouse=True)
def _coarse(monkeypatch) -> None:
    """Pictures of few pixels."""
    monkeypatch.setitem(canvas.STYLE, "savefig.dpi", 40)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory) -> Path:
    """The folder of a training of two epochs, with pictures of one forecast as it went."""
    folder = tmp_path_factory.mktemp("trained")
    own = ("model", "evaluation", "logger", "trainer.pictures")
    words = [*(word for word in small if not word.startswith(own)), *ENSEMBLE]
    words += ["model.hidden_dim=8", "model.latent_dim=4", "paths.run_dir=efm"]
    words += ["trainer.pictures=1", "trainer.log_every_n_steps=1", "logger=csv"]
    command = [sys.executable, "-m", "spacecast.app.train", *words]
    ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return folder / "efm"


@pytest.fixture
def plotted(trained, workplace) -> Path:
    """A copy of it."""
    shutil.copytree(trained, workplace / "efm")
    return workplace / "efm"


def test_a_training_leaves_pictures_of_itself_as_it_went(trained) -> None:
    names = sorted(path.name for path in (trained / "figures" / "training").iterdir())
    assert names == ["epoch_0002.png", "epoch_0002_history.png"]


def test_all_pictures_are_drawn_from_the_files_of_a_run(plotted, run) -> None:
    result = run(COMMAND, "run=efm", "what=all", "output=out", "size=column", "fps=5")
    assert (result.code, result.err) == (0, "")
    drawn = {path.name for path in Path("out").iterdir()}
    names = {name for name in known_pictures() if name not in ("examples", "maps", "keogram", "cuts", "members")}
    missing = {name for name in names if not {f"{name}{suffix}" for suffix in (".png", ".gif", ".html")} & drawn}
    assert missing == set()
    for start in ("example_0_lead_3_Bx_By_Bz", "example_0_lead_3_ensemble_rho", "keogram_0_vx", "cuts_0_lead_3",
                  "members_0_lead_3_rho"):  # fmt: skip
        assert any(name.startswith(start) for name in drawn), start


def test_the_help_names_every_picture(run) -> None:
    text = run(COMMAND, "--help").out
    listed = text[text.index("NAME (") : text.index("Examples")]
    assert set(known_pictures()) <= set(re.findall(r"\w+", listed))


def test_a_list_is_drawn_as_vectors_for_a_slide(plotted, run) -> None:
    result = run(COMMAND, "run=efm", "what=[latents,divergence]", "format=[pdf,png]", "size=slide")
    assert (result.code, result.err) == (0, "")
    for name in ("latents", "divergence"):
        content = (plotted / "figures" / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF")
        [box] = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
        assert float(box[0]) <= 72 * 10 + 1
        assert float(box[1]) <= 72 * 5.6 + 1
        assert imread(plotted / "figures" / f"{name}.png").std() > 0.05


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["what=rmes"], "what=rmes: there is no such picture; did you mean 'rmse'?"),
        (["what=[rmse,rank]"], "what=rank: there is no such picture; did you mean 'ranks'?"),
        (["what=rmse", "format=gif4"], "format=gif4: no picture is written so"),
        (["what=maps", "variables=[Bq]"], "there is no variable 'Bq'; valid: Bx, By"),
        (["what=maps", "leads=[9]"], "leads: there is no lead 9; the forecasts have 1 to 3"),
        (["what=rmse", "size=poster"], "size"),
        (["waht=rmse"], "unknown key 'waht'; did you mean 'what'?"),
    ],
)
def test_mistakes_are_one_line(words, message, plotted, run) -> None:
    result = run(COMMAND, "run=efm", "output=out", *words)
    assert result.code == 2
    assert message in result.line
    assert not Path("out").exists()


def test_what_is_not_there_is_said_and_the_rest_is_drawn(plotted, run) -> None:
    shutil.rmtree(plotted / "examples.zarr")
    result = run(COMMAND, "run=efm", "what=[maps,latents]")
    assert result.code == 2
    assert "efm: nothing there that maps, latents could show" in result.line
    result = run(COMMAND, "run=efm", "what=[maps,rmse]", "output=out")
    assert (result.code, result.err) == (0, "")
    assert [path.name for path in Path("out").iterdir()] == ["rmse.png"]
    result = run(COMMAND, "run=nowhere")
    assert result.code == 2
    assert "run=nowhere: there is no such folder or file" in result.line
