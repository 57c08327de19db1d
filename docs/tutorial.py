# %% [markdown]
# # Tutorial
#
# From a simulated magnetosphere to a trained emulator and its errors, in Python, in about two minutes. This page is
# the file `docs/tutorial.py`. Run it as a script, `python docs/tutorial.py`, or open it as a notebook: Jupyter with
# jupytext does so directly, `jupytext --to notebook docs/tutorial.py` makes an `.ipynb` of it. It works in the folder
# where it is started, on the tiny data of the [quick start](quickstart.md): they show what happens, not what the
# default model can do.

# %%
import subprocess
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import spacecast

pictures = Path("tutorial")
pictures.mkdir(exist_ok=True)

# %% [markdown]
# ## Train
#
# One command simulates the data, trains and scores. After the quick start it says that the run is finished, and
# does nothing.

# %%
subprocess.run(["spacecast-train", "experiment=smoke", "paths.run_dir=runs/smoke"], check=True)

# %% [markdown]
# ## The data
#
# A run is an `xarray.Dataset` with 12 variables over time, x and z. The Sun is to the right, Earth is the hole.
# What varies by orders of magnitude is shown on a logarithmic scale; the lines are those of the magnetic field.

# %%
run = xr.open_zarr("data/smoke/run_1.zarr", chunks=None)
print({name: run[name].units for name in run.data_vars})


def show(pane, field, title, **options):
    """Draw one variable on the plane, x to the right and z upwards."""
    image = pane.pcolormesh(field.x, field.z, field.transpose("z", "x"), rasterized=True, **options)
    pane.set_aspect("equal")
    pane.set(title=title, xlabel="x [R_E]", ylabel="z [R_E]")
    pane.figure.colorbar(image, ax=pane, label=f"{field.name} [{field.units}]", shrink=0.75)


frame = run.isel(time=40)
figure, panes = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
show(panes[0], frame.rho, "density", norm="log", cmap="viridis")
show(panes[1], frame.Bz, "northward magnetic field", cmap="RdBu_r", vmin=-20, vmax=20)
field = [frame[name].transpose("z", "x").values for name in ("Bx", "Bz")]
panes[1].streamplot(frame.x.values, frame.z.values, *field, color="black", linewidth=0.5, arrowsize=0.5, density=1.2)
figure.savefig(pictures / "magnetosphere.png", dpi=110)

# %% [markdown]
# ![Density and magnetic field of one frame](images/tutorial/magnetosphere.png)
#
# ## A forecast
#
# A forecast starts from two frames; `start` is the number of the newer one, here two before the end of the part of
# the run that the training has seen. It comes back as a dataset again, in physical units, over `init_time`,
# `lead_time`, `x` and `z`. At the right edge true values come in at each step: nobody can forecast the solar wind.

# %%
model = spacecast.load("runs/smoke")
print(model)
start, steps = 40, 12
forecast = model.forecast(run, steps=steps, start=start).isel(init_time=0)
truth = run.isel(time=slice(start + 1, start + 1 + steps)).rename(time="lead_time")
truth = truth.assign_coords(lead_time=forecast.lead_time)

# %%
lead = 60.0
error = (forecast.vx - truth.vx).assign_attrs(units=run.vx.units).rename("error of vx")
limits = {"vmin": -800, "vmax": 200}
figure, panes = plt.subplots(1, 3, figsize=(14, 3.2), layout="constrained")
show(panes[0], truth.vx.sel(lead_time=lead), f"truth, {lead:.0f} s ahead", **limits)
show(panes[1], forecast.vx.sel(lead_time=lead), "forecast", **limits)
show(panes[2], error.sel(lead_time=lead), "error", cmap="RdBu_r", vmin=-150, vmax=150)
figure.savefig(pictures / "forecast.png", dpi=110)

# %% [markdown]
# ![Velocity towards the Sun: truth, forecast and error](images/tutorial/forecast.png)
#
# ## How good is it?
#
# An error means nothing by itself. The simplest forecast says that nothing changes (persistence); a model must be
# better than that. The root mean square error is taken over the plane, without the strip at the right that is
# driven by the truth.

# %%
now = run.isel(time=start)
inside = run.x < 27


def rmse(one, other):
    """Root mean square over the plane, at each lead."""
    return np.sqrt(((one - other).where(inside) ** 2).mean(["x", "z"]))


figure, panes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for pane, name in zip(panes, ["Bz", "vx", "rho"], strict=True):
    pane.plot(forecast.lead_time, rmse(forecast[name], truth[name]), color="C0", label="model")
    pane.plot(forecast.lead_time, rmse(now[name], truth[name]), color="0.5", linestyle="--", label="persistence")
    pane.set(xlabel="lead time [s]", ylabel=f"RMSE of {name} [{run[name].units}]", ylim=(0, None))
panes[0].legend(frameon=False)
figure.savefig(pictures / "rmse.png", dpi=110)

# %% [markdown]
# ![Error of model and persistence over lead time](images/tutorial/rmse.png)
#
# One forecast proves little. The command scored several, from initial times spread over the test split, with
# intervals: `scores.nc`, explained in [Scores](evaluation.md).

# %%
scores = xr.open_dataset("runs/smoke/scores.nc")
print(scores.skill.sel(region="all", variable="mean").to_series())

# %% [markdown]
# ## Go on
#
# - Without `experiment=smoke` the same command trains the default model on finer data: minutes on two cores, and
#   far smaller errors.
# - An ensemble: `spacecast-train experiment=ensemble`, then `model.forecast(run, steps=60, members=20)`
#   ([Forecast from Python](python.md)).
# - A model of your own is one Python file and one YAML file ([Add a model](extend.md)).
