"""Data that are still to be simulated are described as they then are."""

import numpy as np

from spacecast.app.assemble import open_data
from spacecast.app.planned import planned_datastore
from spacecast.config.complete import completed
from spacecast.config.compose import compose, conf_dir
from spacecast.config.schema import Train, typed


def test_the_plan_is_what_is_then_there(small, tiny_data, tmp_path):
    from spacecast.app.train import COMMAND

    def config(*words: str) -> Train:
        return typed(completed(COMMAND, compose("train", [*small, *words], conf_dir()), {}), Train)

    there = config()
    assert planned_datastore(there) is None
    data, plan = open_data(there), planned_datastore(config(f"paths.data_dir={tmp_path}"))
    assert (plan.train_runs, plan.holdout_runs) == (data.train_runs, data.holdout_runs)
    for split in ("train", "val", "test", "all"):
        assert plan.num_frames("1", split) == data.num_frames("1", split)
    planned, found = plan.spec, data.spec
    assert planned.step_seconds == found.step_seconds
    np.testing.assert_array_equal(planned.boundary, found.boundary)
    np.testing.assert_array_equal(planned.grid.valid, found.grid.valid)
    np.testing.assert_allclose(planned.grid.positions, found.grid.positions, rtol=1e-6)
    np.testing.assert_allclose(planned.static_values, found.static_values, rtol=1e-6)
    for category in ("state", "static", "forcing"):
        ours, theirs = getattr(planned, category), getattr(found, category)
        assert (ours.names, ours.units) == (theirs.names, theirs.units)
    for limit in ("lower", "upper"):
        assert getattr(planned, limit).shape == getattr(found, limit).shape
    stored = planned_datastore(config(f"paths.data_dir={tmp_path}", "datastore.statistics=stored"))
    assert stored.spec.lower is stored.spec.upper is None
    assert not any(tmp_path.iterdir())


def test_a_run_of_another_wind_is_planned_as_held_out_and_shorter(small, tmp_path):
    from spacecast.app.train import COMMAND

    words = [*small, f"paths.data_dir={tmp_path}", "simulation.test_seed=9"]
    plan = planned_datastore(typed(completed(COMMAND, compose("train", words, conf_dir()), {}), Train))
    assert (plan.train_runs, plan.holdout_runs) == (("1",), ("unseen",))
    assert (plan.num_frames("1", "all"), plan.num_frames("unseen", "all")) == (30, 23)


def test_data_of_a_simulation_of_ones_own_cannot_be_foretold(small, tmp_path):
    from spacecast.app.train import COMMAND

    words = [word for word in small if "simulation" not in word]
    plain = completed(COMMAND, compose("train", [*words, f"paths.data_dir={tmp_path}"], conf_dir()), {})
    own = {"_target_": "types.SimpleNamespace", "_partial_": True, "root": str(tmp_path), "storms": 3}
    assert planned_datastore(typed({**plain, "simulation": own}, Train)) is None
