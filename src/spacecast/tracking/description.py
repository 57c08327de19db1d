"""What an experiment says of itself on MLflow's pages."""

NOTE = "mlflow.note.content"  # the tag of the description

DESCRIPTION = """\
Forecasts of near-Earth plasma by spacecast; each run is a training, or an evaluation of a trained model.

**Which run is better, by how much, at which lead?** Open *Chart*, select the runs, and look at the first section of
charts. SPLIT is the part of the data that was scored, mostly `test`; curves ending in `_by_lead_s` have the lead time
in seconds as *Step* (`_by_lead_ms`: in milliseconds). Tables show a curve's value at its longest lead.

| Metric | What it is | Units | Perfect | Persistence |
|---|---|---|---|---|
| `SPLIT/rmse_ratio` | RMSE over that of persistence, mean over variables and leads; the lower the better | 1 | 0 | 1 |
| `SPLIT/rmse_ratio_by_lead_s` | the same for each lead | 1 | 0 | 1 |
| `SPLIT/skill_by_lead_s` | 1 - RMSE / RMSE of persistence, mean over variables | 1 | 1 | 0 |
| `SPLIT/skill_crps`, `.._by_lead_s` | of ensembles: 1 - CRPS / mean absolute error of persistence | 1 | 1 | 0 |
| `SPLIT/spread_skill_ratio_by_lead_s` | of ensembles: spread / RMSE of the mean; below 1: too sure | 1 | 1 | |
| `SPLIT/rmse_by_lead_s/VARIABLE` | root-mean-square error | of the variable | 0 | |
| `SPLIT/skill_by_lead_s/VARIABLE` | skill of one variable | 1 | 1 | 0 |
| `SPLIT/crps_by_lead_s/VARIABLE` | of ensembles: continuous ranked probability score | of the variable | 0 | |
| `SPLIT/supplement_by_lead_s/..` | correlations, div B, negative values, standoff distances, .. | in scores.csv | | |
| `train/loss` | what is minimised; two losses do not compare | 1 | | |
| `val/rmse_ratio` | as above, over the validation roll-out: chooses the best checkpoint | 1 | 0 | 1 |
| `val_rmse/VARIABLE` | RMSE at the last lead of the validation roll-out | of the variable | 0 | |

The units of the variables are the tag `units` of each run. *Persistence*, the last known state kept for ever, is in
these ratios already; a run of `model=persistence` draws it as a line beside the others. Everything else, regions and
intervals too, is in the artifacts `scores/scores.csv` and `scores/scores.nc`.

**Parameters**: `model`, `graph` and `loss` are the chosen members, `model/parameters` is the number of trained numbers,
`GROUP/KEY` are the settings. **Artifacts**: `figures`, `scores`, `config/config.yaml`, `checkpoints/best.ckpt`.
"""
