"""Colours of runs on MLflow's pages, which by itself gives two of four runs the same one often enough."""

from typing import Any

COLOUR = "mlflow.runColor"  # the tag; whoever picks another colour in MLflow changes it
COLOURS = (  # those of Okabe and Ito, then of Tol: told apart by colour-blind readers
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#882255", "#999933", "#332288", "#777777",
)  # fmt: skip


def give_colour(client: Any, experiment: str, run_id: str) -> None:
    """Give a run that was just made a colour that none of the newest runs of its experiment has.

    Runs that are made at the same time see each other without a colour, and take different ones, in the order of their
    identifiers.
    """
    newest = client.search_runs([experiment], order_by=["attributes.start_time DESC"], max_results=len(COLOURS))
    colours = {run.info.run_id: run.data.tags.get(COLOUR) for run in newest if run.info.run_id != run_id}
    free = [colour for colour in COLOURS if colour not in list(colours.values())[: len(COLOURS) - 1]]
    waiting = sorted([run_id, *(name for name, colour in colours.items() if colour is None)])
    client.set_tag(run_id, COLOUR, free[waiting.index(run_id) % len(free)])
