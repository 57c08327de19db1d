"""Formulas against the numbers of the reference implementation, averaged over the nodes of its mask."""

import numpy as np
import torch

from spacecast.core.grid import Grid
from spacecast.formulas.ensemble import crps_ensemble, member_variance
from spacecast.formulas.pointwise import LOSSES


def test_agreement_with_the_reference(reference_dir) -> None:
    known = {name: torch.as_tensor(value) for name, value in np.load(reference_dir / "tensors/metrics.npz").items()}
    pred, target, std = (known[name] for name in ("pred", "target", "pred_std"))
    ours = {name: LOSSES[name](pred, target, std) for name in ("mse", "mae", "wmse", "wmae", "nll", "crps_gauss")}
    for count in (2, 3, 5, 12):
        members = known[f"ens{count}"].movedim(1, 0)
        ours[f"crps_ens{count}"] = crps_ensemble(members, target)
        ours[f"spread_squared{count}"] = member_variance(members)
    inside = known["mask"].reshape(-1).bool()
    for name, entries in ours.items():
        value = entries[..., inside, :].mean(dim=-2)
        torch.testing.assert_close(value, known[name], rtol=1e-5, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}")


def test_divergence_agrees_with_the_reference_on_its_cells(reference_dir) -> None:
    constants = np.load(reference_dir / "tensors/constants.npz")
    known = np.load(reference_dir / "tensors/divergence.npz")
    nx, nz, dx, dz = (constants[name].item() for name in ("nx", "nz", "dx", "dz"))
    grid = Grid({"x": np.arange(nx) * dx, "z": np.arange(nz) * dz}, np.ones((nx, nz), dtype=bool))
    counted = constants["div_mask"][:, 0] > 0  # of the nodes of the stencil
    ours = grid.divergence(*torch.as_tensor(known["field"]).unbind(-1))[..., counted]
    np.testing.assert_allclose(ours.abs().mean(dim=-1), known["absolute"], rtol=1e-5)
    np.testing.assert_allclose(ours.square().mean(dim=-1), known["squared"], rtol=1e-5)
