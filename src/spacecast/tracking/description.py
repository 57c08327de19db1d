"""What an experiment says of itself on MLflow's pages."""

NOTE = "mlflow.note.content"  # the tag of the description

DESCRIPTION = """\
**Lowest `test/rmse_ratio` is best**: RMSE / RMSE of persistence, which is 1. *Step* of `.._by_lead_s`: lead time [s]

Forecasts of near-Earth plasma by spacecast; each run is a training, or an evaluation of a trained model. Which run is
better, by how much, at which lead? Open *Chart*, and look at the first section. SPLIT is `test`, or `scores_val` and
the like where another part of the data was scored; curves ending in `_by_lead_s` have the lead time in seconds as
*Step* (`_by_lead_ms`: in milliseconds). Tables show a curve's value at its longest lead; *NaN* there is a score that a
run does not have.

| Metric | What it is | Units | Perfect | Persistence |
|---|---|---|---|---|
| `SPLIT/rmse_ratio` | RMSE over that of persistence, mean over variables and leads | 1 | 0 | 1 |
| `SPLIT/rmse_ratio_by_lead_s` | the same for each lead | 1 | 0 | 1 |
| `SPLIT/skill_by_lead_s` | 1 - RMSE / RMSE of persistence, mean over variables | 1 | 1 | 0 |
| `SPLIT/skill_crps`, `.._by_lead_s` | of ensembles: 1 - CRPS / mean absolute error of persistence | 1 | 1 | 0 |
| `SPLIT/spread_skill_ratio_by_lead_s` | of ensembles: spread / RMSE of the mean; below 1: too sure | 1 | 1 | |
| `SPLIT_rmse_by_lead_s/VARIABLE` | root-mean-square error | of the variable | 0 | |
| `SPLIT_skill_by_lead_s/VARIABLE` | skill of one variable | 1 | 1 | 0 |
| `SPLIT_crps_by_lead_s/VARIABLE` | of ensembles: continuous ranked probability score | of the variable | 0 | |
| `SPLIT_spread_skill_ratio_by_lead_s/VARIABLE` | of ensembles: that of one variable | 1 | 1 | |
| `SPLIT_supplement_by_lead_s/..` | correlations, div B, negative values, standoff distances, .. | in scores.csv | | |
| `train/loss` | what is minimised; two losses do not compare | 1 | | |
| `train/error`, `train/reconstruction`, `train/kl`, `train/crps`, .. | its terms, where it has several | 1 | | |
| `train/rollout_steps` | of the schedule: longer roll-outs have larger losses | 1 | | |
| `train/lr_factor`, `train/epoch` | of the learning rate; how many epochs there were | 1 | | |
| `val/rmse_ratio` | as above, over the validation roll-out: chooses the best checkpoint | 1 | 0 | 1 |
| `val/rmse_ratio_first_lead` | the same at the first lead | 1 | 0 | 1 |
| `val/rmse_ratio_last_lead` | the same at the last lead | 1 | 0 | 1 |
| `val/crps_ratio` | of ensembles: CRPS / mean absolute error of persistence, chooses instead | 1 | 0 | 1 |
| `val/spread_skill` | of ensembles: spread / RMSE of the mean | 1 | 1 | |
| `val/spread_skill_first_lead` | the same at the first lead, for each window by itself | 1 | 1 | |
| `val/noise_amplitude` | of ensembles: what the noise of forecasts is multiplied by, so that this ratio is 1 | 1 | | |
| `val_rmse/VARIABLE` | RMSE at the last lead of the validation roll-out | of the variable | 0 | |

The units of the variables are the tag `units` of each run. *Persistence*, the last known state kept for ever, is in
these ratios already; a run of `model=persistence` draws it as a line beside the others. Everything else, regions and
intervals too, is in the artifacts `scores/scores.csv` and `scores/scores.nc`.

**Parameters**: `model`, `graph` and `loss` are the chosen members, `parameters` is the number of trained numbers,
`settings/GROUP/KEY` are the settings. **Artifacts**: pictures, `scores`, `config/config.yaml`, `checkpoints/best.ckpt`.
"""
