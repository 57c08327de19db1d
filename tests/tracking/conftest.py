from pathlib import Path

import pytest


@pytest.fixture
def store(fresh_store: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    path.write_bytes(fresh_store.read_bytes())
    return path
