"""Scores of the validation roll-outs, gathered as sums."""

import torch
from torch import Tensor

from spacecast.core.spec import FeatureSpec
from spacecast.formulas.averages import changes, variable_mean
from spacecast.formulas.ensemble import crps_ensemble, mean_squared_error_of_mean, member_variance

SCORES = ("mse", "persistence_mse", "crps", "persistence_mae", "variance", "truth_square", "spread_skill")
TINY = torch.finfo(torch.float32).tiny
MOST = 10.0  # of a variance over an error: an error without bias may come out as none, or below


class ValidationSums:
    """Sums of scores over windows by lead and variable, standardised.

    `mse` is that of the mean of the distribution that the members are drawn from, estimated without bias, so that a few
    members do; the CRPS is the fair one, of one member its absolute error. `spread_skill` is that of each window by
    itself, so that a window of large errors weighs no more than others.

    Args:
        leads: leads of the roll-outs.
        variables: number of state variables.
    """

    def __init__(self, leads: int, variables: int) -> None:
        self.sums = torch.zeros(len(SCORES), leads, variables, dtype=torch.float64)
        self.windows = 0

    def add(self, lead: int, members: Tensor, truth: Tensor, present: Tensor) -> None:
        """Add the forecasts of some windows at one lead.

        Args:
            lead: number of the lead, from 0.
            members: shape (member, window, node, variable).
            truth, present: the target and persistence, shape (window, node, variable).
        """
        entries = (
            mean_squared_error_of_mean(members, truth),
            (present - truth).square(),
            crps_ensemble(members, truth),
            (present - truth).abs(),
            member_variance(members),
            truth.square(),
        )
        windows = torch.stack([each.float().mean(dim=1) for each in entries])
        error, variance = (windows[SCORES.index(name)] for name in ("mse", "variance"))
        ratio = (variance / torch.maximum(error, variance / MOST).clamp(min=TINY)).sqrt()
        self.sums[:, lead] += torch.cat([windows, ratio[None]]).sum(dim=1).double().cpu()
        self.windows += len(truth) if lead == 0 else 0

    def flat(self) -> Tensor:
        """Sums and number of windows as one vector, to be added up over processes."""
        return torch.cat([self.sums.flatten(), torch.tensor([float(self.windows)], dtype=torch.float64)])

    def means(self, flat: Tensor) -> dict[str, Tensor]:
        """Mean scores (lead, variable) from a vector like that of `flat`."""
        values = (flat[:-1] / flat[-1]).view(self.sums.shape).clamp(min=0)
        return dict(zip(SCORES, values, strict=True))


def summary(means: dict[str, Tensor], state: FeatureSpec, *, ensemble: bool) -> dict[str, Tensor]:
    """What is logged of a validation: ratios to persistence, averaged over variables, and RMSE at the last lead.

    Variables that do not change are left out of the averages (`formulas.averages.changes`).

    Args:
        means: of `ValidationSums.means`.
        state: names and statistics of the state variables.
        ensemble: also the ratio of CRPS to persistence's mean absolute error, and the spread-skill ratio; that of the
            first lead is a mean over windows and variables, each by itself.
    """
    mean, std = torch.as_tensor(state.mean), torch.as_tensor(state.std)
    counted = changes(means["persistence_mse"], means["truth_square"], mean / std)
    rmse = means["mse"].sqrt()
    ratio = rmse / means["persistence_mse"].sqrt()
    by_lead = variable_mean(ratio, counted)
    scores = {f"val/rmse_ratio{which}_lead": by_lead[lead] for which, lead in (("_first", 0), ("_last", -1))}
    scores["val/rmse_ratio"] = variable_mean(ratio.flatten(), counted.flatten())
    if ensemble:
        crps, spread = means["crps"] / means["persistence_mae"], means["variance"].sqrt() / rmse
        scores["val/crps_ratio"] = variable_mean(crps.flatten(), counted.flatten())
        known = counted & (rmse != 0)
        scores["val/spread_skill"] = variable_mean(spread.flatten(), known.flatten())
        scores["val/spread_skill_first_lead"] = variable_mean(means["spread_skill"][0], known[0])
    return scores | {f"val_rmse/{name}": value for name, value in zip(state.names, rmse[-1] * std, strict=True)}
