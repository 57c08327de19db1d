"""The published recipe and the defaults of spacecast, trained for the same seconds on the same data.

Usage: python scripts/contest/run.py [--seconds 240] [--seeds 1 2 3] [--folder runs/contest] [KEY=VALUE ...]

Of each entry (entries.py) short trainings are timed first; the line through them gives the number of steps that take
the seconds, so that each schedule comes to its end. Then the entries train in turn, one at a time, with one seed after
the other, and are scored on the test run that no choice has seen. contest.md and contest.json in the folder are written
anew after each training. The same command again goes on where it was stopped, and does nothing that is done.

KEY=VALUE goes to all trainings. Let nothing else run on the machine meanwhile.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import spacecast
from contest.entries import ENTRIES, Entry
from contest.plan import Plan, make_plan
from contest.table import render
from spacecast.app.assemble import open_data
from spacecast.app.train import COMMAND
from spacecast.checkpoint.content import load_checkpoint, model_weights
from spacecast.config.command import Inputs
from spacecast.config.complete import checked
from spacecast.config.compose import compose, conf_dir
from spacecast.config.schema import Train
from spacecast.core.errors import UserError
from spacecast.evaluation.scores import Scores
from spacecast.process.exit_codes import run_to_end
from spacecast.process.files import read_json, write_json, write_text
from spacecast.process.run_folder import read_facts
from tables import replace_part

LEADS = (1, 5, 10, 20, 50, 100)
UNSEEN = ("evaluation.split=null", "evaluation.runs=auto", "evaluation.spread=true")  # a run that no choice has seen
APART = ("evaluation.examples=0", "logger=none")
BEST, PART = "ours", "contest"


def train(words: Sequence[str], run_dir: Path) -> float:
    """Train in a process of its own, or go on, or find that it is done; the seconds of the training.

    Raises:
        UserError: it did not finish.

    """
    command = [sys.executable, "-m", "spacecast.app.train", *words, f"paths.run_dir={run_dir}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"{run_dir}: exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    return float(read_facts(run_dir)["training_seconds"])


def configured(words: Sequence[str]) -> Train:
    """The checked configuration of a training."""
    composed = compose(COMMAND.config, [*words, "paths.run_dir=nowhere"], conf_dir())
    return Inputs.of(checked(COMMAND, composed, {}), Train).config


def available(config: Train) -> int:
    """Training windows with targets for the longest roll-out; the data are made where they are absent."""
    store, steps = open_data(config), int(config.schedule.content.get("rollout_steps", 1))
    return sum(max(store.num_frames(run, "train") - 1 - steps, 0) for run in store.train_runs)


def planned(entry: Entry, folder: Path, seconds: float, words: Sequence[str]) -> Plan:
    """The plan of an entry: the one that lies in its folder, or a new one.

    Raises:
        UserError: another one lies there.

    """
    file, typed = folder / "plan.json", [*entry.words, *words]
    found = read_json(file)
    if found:
        if (found["seconds"], found["words"]) != (seconds, typed):
            before = f"{found['seconds']:g} s of {' '.join(found['words'])}"
            raise UserError(f"{folder} is of another contest, {before}; choose another --folder")
        return Plan(found["epochs"], found["windows"], tuple(map(tuple, found["measured"])))
    config = configured(typed)
    short = ["evaluation.steps=1", "evaluation.windows=1", *UNSEEN, *APART]

    def measure(windows: int) -> float:
        took = train([*typed, *short, f"data.limit_windows={windows}"], folder / f"short_{windows}")
        print(f"{entry.label}: {config.trainer.max_epochs} epochs of {windows} windows take {took:.1f} s", flush=True)
        return took

    plan = make_plan(seconds, int(config.trainer.max_epochs), available(config), measure)
    write_json(file, {"seconds": seconds, "words": typed, **plan._asdict()})
    return plan


def result(run_dir: Path, plan: Plan, seed: int, leads: Sequence[int]) -> dict[str, Any]:
    """What a finished training has come to."""
    scores = Scores.read_csv(run_dir / "scores.csv")
    ratio, references = scores.ratio(), scores.references()
    weights = model_weights(load_checkpoint(run_dir))
    return {
        "seed": seed,
        "seconds": read_facts(run_dir)["training_seconds"],
        "steps": plan.epochs * plan.windows,
        "parameters": sum(weight.numel() for weight in weights.values()),
        "ratio": {str(lead): float(ratio[lead - 1]) for lead in leads},
        "references": {
            label: {str(lead): float(curve[lead - 1]) for lead in leads} for label, curve in references.items()
        },
    }


def contest(words: argparse.Namespace) -> None:
    """Plan, train in turn, and write the table after each training."""
    folder, leads = words.folder.expanduser().absolute(), sorted(words.leads)
    results: dict[str, list[dict[str, Any]]] = {}
    plans = {}
    for name in words.entries:
        plans[name] = planned(ENTRIES[name], folder / name, words.seconds, words.overrides)
    scored = [f"evaluation.steps={leads[-1]}", f"evaluation.windows={words.windows}", *UNSEEN, *APART]
    for seed in words.seeds:
        for name, plan in plans.items():
            entry, run_dir = ENTRIES[name], folder / name / f"seed_{seed}"
            length = [f"trainer.max_epochs={plan.epochs}", f"data.limit_windows={plan.windows}"]
            took = train([*entry.words, *words.overrides, *scored, *length, f"seed={seed}"], run_dir)
            results.setdefault(name, []).append(result(run_dir, plan, seed, leads))
            print(f"{entry.label}, seed {seed}: {took:.1f} s of training", flush=True)
            text = render(results, {name: entry.label for name, entry in ENTRIES.items()}, leads, BEST)
            facts = {"seconds": words.seconds, "spacecast": spacecast.__version__, "words": words.overrides}
            write_json(folder / "contest.json", {**facts, "results": results})
            write_text(folder / "contest.md", f"{text}\n")
    if words.page:
        replace_part(words.page, PART, text)
    print(text)


def run(arguments: Sequence[str] | None = None) -> None:
    """Do what the words say.

    Raises:
        UserError: a training did not finish, or the folder holds another contest.

    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="for all trainings")
    parser.add_argument("--seconds", type=float, default=240.0, help="of each training, validation included")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--entries", nargs="+", choices=ENTRIES, default=list(ENTRIES))
    parser.add_argument("--leads", type=int, nargs="+", default=list(LEADS))
    parser.add_argument("--windows", type=int, default=10, help="initial times of each run that are scored")
    parser.add_argument("--folder", type=Path, default=Path("runs/contest"))
    parser.add_argument("--page", type=Path, help=f"a page with the markers <!-- {PART} --> and <!-- end of {PART} -->")
    contest(parser.parse_intermixed_args(arguments))


if __name__ == "__main__":
    run_to_end("contest", run, unforeseen="")
