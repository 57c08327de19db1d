"""The state that a node is in on average, from which anomalies depart."""

import logging

import numpy as np

from spacecast.core.errors import UserError
from spacecast.core.protocols import Datastore

FRAMES = 50  # of each run, which the mean is taken of

log = logging.getLogger(__name__)


def climatology(datastore: Datastore, frames: int = FRAMES) -> np.ndarray | None:
    """Mean over time of each node and variable in the training split of the training runs, each run in equal weight.

    Frames are read one by one, and of a long split no more than `frames` of each run, evenly spaced: neighbouring ones
    are nearly the same, and the cost of a mean over all of them grows with the data instead of with what is scored.

    Returns:
        Physical units, float64, shape (node, state). None, which the log explains, where a run lacks that split.

    """
    means = []
    for run in datastore.train_runs:
        try:
            count = datastore.num_frames(run, "train")
        except UserError as error:
            log.info("no anomaly correlation, which takes the climatology of the training split: %s", error)
            return None
        chosen = np.unique(np.linspace(0, count - 1, min(count, frames)).round().astype(int))
        total = np.zeros((datastore.spec.num_nodes, len(datastore.spec.state)))
        for frame in chosen.tolist():
            total += datastore.read_state(run, "train", frame, frame + 1)[0]
        if count:
            means.append(total / len(chosen))
    if not means:
        log.info("no anomaly correlation, which takes the climatology of the training split: it holds no frame")
        return None
    return np.mean(means, axis=0)
