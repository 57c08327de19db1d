"""The rules of docs/architecture.md, checked on the source. Standard library only.

Each rule is a function from sources to complaints, and each is tried on a planted violation as well.
"""

import ast
import itertools
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "spacecast"

LAYERS = (
    {"core"},
    {"process", "formulas"},
    {"nn", "graphs", "storage", "tracking", "config"},
    {"models", "data", "simulation"},
    {"forecast", "checkpoint"},
    {"objectives", "evaluation"},
    {"training", "plots"},
    {"sweep"},
    {"app"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

# What a package may import of spacecast although its rank would allow more.
ONLY = {"nn": {"core", "formulas"}, "models": {"core", "nn"}}
NEVER = {"training": {"models", "nn", "graphs"}}

# Third parties and the packages or modules that may import them.
FOR_ALL = {"numpy", "torch"}
FILES = {"storage", "data", "simulation", "forecast", "evaluation", "plots", "checkpoint"}
OWNERS = {
    "alembic": {"tracking"},
    "h5netcdf": {"forecast"},
    "huggingface_hub": {"data.hub"},
    "hydra": {"config", "app", "sweep"},
    "lightning_fabric": {"forecast.launched"},
    "loguru": {"data.prepare"},
    "matplotlib": {"plots"},
    "mllam_data_prep": {"data.prepare"},
    "mlflow": {"tracking"},
    "numcodecs": {"storage"},
    "omegaconf": {"config", "app", "sweep"},
    "PIL": {"plots"},
    "pandas": FILES,
    "plotly": {"plots"},
    "psutil": {"process", "app", "sweep"},
    "pytorch_lightning": {"training", "process.logs", "data.datamodule", "tracking.logger"},
    "rich": {"process"},
    "safetensors": {"checkpoint"},
    "scipy": {"graphs", "nn", "simulation", "evaluation"},
    "submitit": {"sweep"},
    "torch_geometric": {"graphs", "nn", "models"},
    "xarray": FILES | {"app.trained_model"},
    "yaml": {"process", "config", "data", "sweep", "app"},
    "zarr": FILES,
}
LAZY = {"huggingface_hub", "matplotlib", "mlflow", "mllam_data_prep", "PIL", "plotly", "submitit", "torch_geometric"}
DISTRIBUTION = {"hydra": "hydra-core", "PIL": "pillow", "pytorch_lightning": "pytorch-lightning", "yaml": "pyyaml"}
COMES_WITH = {
    "alembic": "mlflow", "lightning_fabric": "pytorch-lightning", "loguru": "mllam-data-prep", "numcodecs": "zarr",
}  # fmt: skip

# Libraries of which private names are used: the one module that may, and the test that tells when they have changed.
PRIVATE = {
    "submitit": ("sweep.submitit_private", "tests/sweep/test_submitit_private.py"),
    "torch": ("training.memory_plan", "tests/training/test_memory_plan.py"),
}
DOCUMENTED = {"_asdict", "_exit", "_fields", "_make", "_replace"}  # of named tuples and of os

MAX_FUNCTION = 60
MAX_FILE = 300


class Source(NamedTuple):
    """One module: its dotted name below spacecast, its text and its syntax tree."""

    module: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        """First part of the name."""
        return self.module.partition(".")[0]


class Import(NamedTuple):
    """One imported module; lazy when it happens inside a function or for type checkers only."""

    name: str
    lazy: bool


def source(module: str, text: str) -> Source:
    """A module from its text."""
    return Source(module, text, ast.parse(text))


def read_package() -> list[Source]:
    """All modules of the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.append(source(".".join(part for part in parts if part != "__init__"), path.read_text()))
    return found


def imports(module: Source) -> Iterator[Import]:
    """Everything a module imports, at any depth."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (Import(f"{base}.{alias.name}", lazy) for alias in node.names)
        inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        inner = inner or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    return walk(module.tree, False)


def internal(module: Source) -> Iterator[str]:
    """First-level names of spacecast that a module imports."""
    for found in imports(module):
        parts = found.name.split(".")
        if parts[0] == "spacecast" and len(parts) > 1 and parts[1] != "__version__":
            yield parts[1]


def third_parties(module: Source) -> Iterator[Import]:
    """Imports from outside spacecast and the standard library, by top-level name."""
    for found in imports(module):
        top = found.name.partition(".")[0]
        if top and top not in sys.stdlib_module_names and top != "spacecast":
            yield Import(top, found.lazy)


# ---------------------------------------------------------------------------------------------------------------- rules
def known_packages(sources: list[Source]) -> list[str]:
    """Every module lies in a package that has a rank, and packages are at most two deep."""
    named = [module for module in sources if module.module]
    complaints = [f"{module.module}: no layer has {module.package}" for module in named if module.package not in RANK]
    return complaints + [f"{module.module}: deeper than two" for module in named if module.module.count(".") > 1]


def downward_imports(sources: list[Source]) -> list[str]:
    """Imports point down; siblings of one rank do not know each other."""
    complaints = []
    for module in sources:
        for target in internal(module):
            if target == module.package or target not in RANK or not module.module:
                continue
            if RANK[target] >= RANK.get(module.package, -1):
                complaints.append(f"{module.module} imports {target}: not below it")
            elif target not in ONLY.get(module.package, {target}) or target in NEVER.get(module.package, ()):
                complaints.append(f"{module.module} imports {target}: against its rule")
    return complaints


def absolute_imports(sources: list[Source]) -> list[str]:
    """Imports name the whole path."""
    return [
        f"{module.module}: relative import"
        for module in sources
        for found in imports(module)
        if found.name.startswith(".")
    ]


def owned_third_parties(sources: list[Source]) -> list[str]:
    """A third party is imported by its owners alone, lazily or not."""
    complaints = []
    for module in sources:
        for found in third_parties(module):
            owners = OWNERS.get(found.name, set())
            if found.name not in FOR_ALL and not {module.package, module.module} & owners:
                complaints.append(f"{module.module} imports {found.name}, owned by {sorted(owners) or 'nobody'}")
    return complaints


def lazy_third_parties(sources: list[Source]) -> list[str]:
    """Heavy third parties are imported inside functions."""
    return [
        f"{module.module} imports {found.name} at module level"
        for module in sources
        for found in third_parties(module)
        if found.name in LAZY and not found.lazy
    ]


def public_names(sources: list[Source]) -> list[str]:
    """What others keep to themselves, a name that begins with an underscore, may change with any release."""
    complaints = []
    for module in sources:
        owned = {library for library, (owner, _) in PRIVATE.items() if owner == module.module}
        complaints += [
            f"{module.module} imports {found.name}, which is private"
            for found in imports(module)
            if any(map(is_private, found.name.split("."))) and found.name.partition(".")[0] not in owned
        ]
        if not owned:
            complaints += [f"{module.module}:{line} uses {name}, which is private" for line, name in of_others(module)]
    return complaints


def is_private(name: str) -> bool:
    """Whether a name begins with one underscore; those that end with one as well are keys of a configuration."""
    return name.startswith("_") and not name.startswith("__") and not name.endswith("_") and name not in DOCUMENTED


def of_others(module: Source) -> Iterator[tuple[int, str]]:
    """Private attributes that a module uses though no class of its own has them, and their lines."""
    nodes = list(ast.walk(module.tree))
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.attr for node in attributes if ast.unparse(node.value) in ("self", "cls")}
    own |= {node.target.id for node in nodes if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
    for node in attributes:
        if is_private(node.attr) and node.attr not in own:
            yield node.lineno, node.attr
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            if isinstance(name, str) and is_private(name):
                yield node.lineno, name


def no_print_below_app(sources: list[Source]) -> list[str]:
    """Only commands write to the terminal."""
    return [
        f"{module.module}:{node.lineno} prints"
        for module in sources
        if module.package != "app"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def short_functions(sources: list[Source]) -> list[str]:
    """A function fits on a screen."""
    return [
        f"{module.module}:{node.lineno} {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines"
        for module in sources
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION
    ]


def short_files(sources: list[Source]) -> list[str]:
    """A file has one duty."""
    lengths = {module.module: len(module.text.splitlines()) for module in sources}
    return [f"{name} has {length} lines" for name, length in lengths.items() if length > MAX_FILE]


def nothing_left_over(sources: list[Source]) -> list[str]:
    """No notes to oneself in the code."""
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b")
    return [
        f"{module.module}:{number} {line.strip()}"
        for module in sources
        for number, line in enumerate(module.text.splitlines(), 1)
        if pattern.search(line)
    ]


RULES: list[Callable[[list[Source]], list[str]]] = [
    known_packages,
    downward_imports,
    absolute_imports,
    owned_third_parties,
    lazy_third_parties,
    public_names,
    no_print_below_app,
    short_functions,
    short_files,
    nothing_left_over,
]

PLANTED = [
    (known_packages, "utils.misc", "a = 1"),
    (known_packages, "data.readers.zarr", "a = 1"),
    (downward_imports, "core.grid", "from spacecast.nn.mlp import MLP"),
    (downward_imports, "nn.mlp", "from spacecast.graphs import builders"),
    (downward_imports, "evaluation.scores", "import spacecast.plots.maps"),
    (downward_imports, "forecast.rollout", "from spacecast.objectives import elbo"),
    (downward_imports, "training.module", "def f():\n    from spacecast.models.graph_fm import GraphFM"),
    (downward_imports, "models.graph_fm", "from spacecast.data.datastore import RunDatastore"),
    (absolute_imports, "nn.mlp", "from . import edges"),
    (owned_third_parties, "training.module", "from omegaconf import OmegaConf"),
    (owned_third_parties, "data.datastore", "def f():\n    import mlflow"),
    (owned_third_parties, "data.store", "import mllam_data_prep"),
    (owned_third_parties, "core.grid", "import scipy.spatial"),
    (owned_third_parties, "app.train", "import wandb"),
    (lazy_third_parties, "plots.maps", "import matplotlib.pyplot as plt"),
    (lazy_third_parties, "graphs.hetero", "class A:\n    from torch_geometric.data import HeteroData"),
    (public_names, "config.words", "def f():\n    from hydra._internal.utils import get_args_parser"),
    (public_names, "tracking.store", "def f():\n    from mlflow.store.db.utils import _upgrade_db"),
    (public_names, "app.train", "from spacecast.training.trainer import _check_strategy"),
    (public_names, "sweep.launcher", "def f(executor):\n    executor._make_submission_file_text('true', 'x')"),
    (public_names, "training.module", "def f(optimizer):\n    getattr(optimizer, '_step_supports_amp_scaling')"),
    (no_print_below_app, "evaluation.scores", "print('hello')"),
    (short_functions, "app.train", "def f():\n" + "    a = 1\n" * 60),
    (short_files, "app.train", "a = 1\n" * 301),
    (nothing_left_over, "app.train", "a = 1  # TO" + "DO later"),
]

INNOCENT = [
    source("", "import spacecast\n__version__ = '1'"),
    source("app.train", "import hydra\nfrom spacecast.training import module\nprint('table')"),
    source("training.module", "import pytorch_lightning\nimport spacecast.forecast"),
    source("tracking.tags", "from spacecast import __version__"),
    source("plots.maps", "if TYPE_CHECKING:\n    import matplotlib\ndef f():\n    import matplotlib"),
    source("models.graph_fm", "import torch, math\nfrom spacecast.nn.mlp import MLP\nimport spacecast.models.other"),
    source("data.sums", "import os\nclass A:\n    def f(self, b):\n        self._sum = b._sum\n        os._exit(1)"),
    source("app.long", "def f():\n" + "    a = 1\n" * 59),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_package_follows(rule):
    complaints = rule(read_package())
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(("rule", "module", "text"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_violation_is_found(rule, module, text):
    assert len(rule([source(module, text)])) == 1


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_innocent_pass(rule):
    assert rule(INNOCENT) == []


def test_every_rule_is_tried():
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


@pytest.mark.parametrize(("library", "module", "test"), [(name, *files) for name, files in PRIVATE.items()])
def test_a_test_watches_over_private_names(library, module, test):
    """A release of the library that changes them is noticed before a user does."""
    [user] = [known for known in read_package() if known.module == module]
    assert library in user.text
    assert module in (ROOT / test).read_text()


def _boxes(picture: str) -> list[ElementTree.Element]:
    """The boxes of a picture of the documentation, which carry the name of a package."""
    root = ElementTree.parse(ROOT / "docs" / "images" / picture).getroot()
    return [group for group in root.iter("{http://www.w3.org/2000/svg}g") if group.get("id") or group.get("class")]


def test_the_picture_of_the_packages_shows_the_layers():
    heights: dict[str, float] = {}
    for box in _boxes("house.svg"):
        heights[str(box.get("id"))] = float(box[0].get("y") or "nan")
    assert heights.keys() == RANK.keys()
    for one, other in itertools.product(RANK, RANK):
        assert (heights[one] < heights[other]) == (RANK[one] > RANK[other]), (one, other)


def test_the_picture_of_the_data_names_packages():
    named = {str(box.get("class")) for box in _boxes("data_way.svg")}
    assert named <= RANK.keys()
    assert {"config", "simulation", "data", "graphs", "models", "forecast", "objectives", "training"} <= named


def test_the_page_lists_every_package_from_the_bottom_and_a_file_to_start_with():
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\w+\.py)` \|$", page, re.MULTILINE)
    assert [RANK[package] for package, _ in rows] == sorted(RANK.values())
    assert {package for package, _ in rows} == RANK.keys()
    assert [file for package, file in rows if not (PACKAGE / package / file).is_file()] == []


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    named = re.findall(r"`(?:src/spacecast/)?([a-z_]+/[a-z_]+\.py)`", page.read_text())
    folders = (PACKAGE, ROOT)
    assert [name for name in named if not any((folder / name).is_file() for folder in folders)] == []


def test_imports_are_declared_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = (project["optional-dependencies"][extra] for extra in ("hub", "plots"))  # asked for where they are used
    lines = [*project["dependencies"], *itertools.chain.from_iterable(optional)]
    declared = {re.split(r"[<>=!~\[ ]", line)[0].lower() for line in lines}
    needed = {found.name for module in read_package() for found in third_parties(module)}
    names = {COMES_WITH.get(name, DISTRIBUTION.get(name, name.replace("_", "-"))) for name in needed}
    assert names <= declared


def test_scripts_and_configuration_hold_no_left_overs():
    files = [path for folder in ("conf", "scripts") for path in (ROOT / folder).rglob("*.*")]
    texts = [path for path in files if path.suffix in (".py", ".sh", ".yaml")]
    assert nothing_left_over([Source(str(path), path.read_text(), ast.Module([], [])) for path in texts]) == []
