"""Tests of this folder share `wave_training`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
