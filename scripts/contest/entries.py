"""Who takes part in the contest: what is typed for each of them behind `spacecast-train`."""

from typing import NamedTuple

# The published recipe (arXiv 2601.12614: inputs, graph, loss, optimiser, stages as shares of the run, batch of one), as
# in conf/experiment/paper, with what the contest has to change. All of that is in favour of the recipe: pooled
# statistics; the precision that the machine is fast at; activations that are kept; few validations, which count as
# training; a mesh of every third cell (arXiv 2509.19605), for that of every fifth has 25 nodes on the simulated plane.
RECIPE = (
    "experiment=paper/graph_fm_simple",
    "datastore=magnetosphere",
    "datastore.statistics=pooled",
    "graph.coarsening=3",
    "trainer=auto",
    "trainer.precision=auto",
    "trainer.max_epochs=10",
    "trainer.check_val_every_n_epoch=5",
    "data.limit_val_windows=1",
    "schedule.switches=[0.7,0.9]",
    "loss.recompute=false",
    "evaluation=deterministic",
)

SMALL = ("model.hidden_dim=64", "model.decode_dim=64", "model.processor_layers=4")


class Entry(NamedTuple):
    """One that takes part.

    Args:
        label: for the table.
        words: typed for it; the number of epochs and of windows per epoch follow from the seconds.

    """

    label: str
    words: tuple[str, ...]


ENTRIES = {
    "published": Entry("published recipe and sizes", RECIPE),
    "published_small": Entry("published recipe, sizes of its example", (*RECIPE, *SMALL)),
    "ours": Entry("defaults of spacecast", ()),
}
