"""What a training step does, in numbers that no machine changes: kernel calls, gathers, copies by index, bytes.

    python scripts/bench/counts.py            # the numbers beside those of tests/bench/counts.json
    python scripts/bench/counts.py --write    # and put them there

`tests/bench` fails where a number has grown. They depend on the version of torch, which `constraints.txt` pins.
"""

import argparse
import json
import os
from pathlib import Path
from unittest.mock import patch

import subject as subjects
import torch

from spacecast.training.memory_plan import Ledger

FILE = Path(__file__).resolve().parents[2] / "tests" / "bench" / "counts.json"
SIZE, STEPS = (60, 40), 2
WIDTH = {"default": None, "flat": 64, "hierarchical": 64, "efm": 64}
GATHERS = ("embedding", "gather", "index_select", "index")
COPIES = ("index_add", "index_add_", "index_copy", "index_copy_", "index_put", "index_put_", "scatter_add", "copy_")


def counted(model: str) -> dict[str, int]:
    """Of the second optimiser step of a model, and its roll-out of two steps."""
    torch.manual_seed(0)
    made = subjects.subject(model, SIZE, WIDTH[model])
    step = subjects.training_step(made, STEPS)
    step()
    with patch.dict(os.environ, SPACECAST_KERNELS="off"), Ledger() as ledger:  # compiled kernels are out of its sight
        step()
    calls = ledger.calls
    return {
        "kernel calls": sum(calls.values()),
        "gathers": sum(calls[name] for name in GATHERS),
        "copies": sum(calls[name] for name in COPIES),
        "bytes allocated": ledger.allocated,
    }


def main() -> None:
    """Print the numbers, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the numbers into {FILE.name}")
    options = parser.parse_args()
    stored = json.loads(FILE.read_text()) if FILE.is_file() else {}
    found = {model: counted(model) for model in WIDTH}
    for model, counts in found.items():
        for name, count in counts.items():
            print(f"{model:13} {name:16} {count:14,}  stored {stored.get(model, {}).get(name, 0):14,}")
    if options.write:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
