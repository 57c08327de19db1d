import importlib

import numpy as np
import pytest

from spacecast.checkpoint.reference_file import read_reference_checkpoint
from spacecast.data.datastore import RunDatastore
from spacecast.evaluation.evaluator import evaluate
from spacecast.graphs.stored import StoredGraph


@pytest.mark.parametrize("kind", ["simple", "multiscale", "hierarchical"])
def test_scores_of_published_weights_are_the_published_ones(reference_dir, kind: str) -> None:
    """Same weights, graph and statistics: RMSE and MAE of the reference, which leaves the last window out."""
    datastore = RunDatastore(reference_dir / "data", [2], statistics="stored")
    folder = reference_dir / "trained" / f"graph_fm_{kind}"
    stored = read_reference_checkpoint(folder / "last.ckpt")
    module, _, name = stored["target"].rpartition(".")
    graph = StoredGraph(reference_dir / "data" / "graph" / kind).build(datastore.spec.grid)
    model = getattr(importlib.import_module(module), name)(datastore.spec, graph, **stored["hyper_parameters"])
    model.load_state_dict(stored["state_dict"])
    scores = evaluate(model, datastore, steps=4, windows=2)
    for metric in ("rmse", "mae"):
        ours = np.stack([scores.series(metric, variable)[1] for variable in scores.variables], axis=-1)
        np.testing.assert_allclose(ours, np.loadtxt(folder / f"test_{metric}.csv", delimiter=","), rtol=1e-5)
