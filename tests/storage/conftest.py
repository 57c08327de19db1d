"""Fixtures of the storage tests, those of the data tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from data_fixtures import prepared_root, raw_root, root  # noqa: F401
