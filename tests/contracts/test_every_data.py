"""What holds for every way of conf/data to hand out windows."""

import torch

from spacecast.core.types import Batch


def batches(data, epoch=0) -> list[Batch]:
    """Those of one epoch of training."""
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_batches_hold_windows_of_the_roll_out(data_member, composed, tiny_store):
    """Two states, a target and its forcing for each step."""
    section = composed(f"data={data_member}", "data.batch_size=2", "data.workers=0", "data.limit_windows=null").data
    spec = tiny_store.spec
    data = section.build()(tiny_store, rollout_steps=3)
    found = batches(data)
    assert sum(len(batch.initial) for batch in found) == tiny_store.frames - 4
    for batch in found:
        count, nodes, variables = len(batch.initial), spec.num_nodes, len(spec.state)
        assert batch.initial.shape == (count, 2, nodes, variables)
        assert batch.target.shape == (count, 3, nodes, variables)
        assert batch.forcing.shape == (count, 3, nodes, 0)
        assert batch.window.shape == (count, 2)
        for states, (run, first) in zip(torch.cat([batch.initial, batch.target], dim=1), batch.window, strict=True):
            expected = tiny_store.read_state(tiny_store.train_runs[run], "train", int(first), int(first) + 5)
            torch.testing.assert_close(states, torch.from_numpy(expected), rtol=0, atol=0)
    assert len({tuple(window.tolist()) for batch in found for window in batch.window}) == tiny_store.frames - 4
    validation = next(iter(data.val_dataloader()))
    assert validation.target.shape[1] == section.val_steps


def test_the_order_is_a_function_of_seed_and_epoch(data_member, composed, tiny_store):
    def order(seed, epoch):
        section = composed(f"data={data_member}", f"seed={seed}", "data.workers=0").data
        found = batches(section.build()(tiny_store, rollout_steps=1), epoch)
        return [tuple(window.tolist()) for batch in found for window in batch.window]

    assert order(1, 0) == order(1, 0)
    assert order(1, 3) == order(1, 3)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
