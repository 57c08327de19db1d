from pathlib import Path

import pytest

from spacecast.tracking.store import ensure_store


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory) -> Path:
    """One store made once; tests copy its bytes, for making one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    ensure_store(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_store.read_bytes())
    return path
