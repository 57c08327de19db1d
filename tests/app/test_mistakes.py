"""Every mistake of a user: one line, exit code 2, nothing left on disk."""

import shutil
from pathlib import Path

import pytest

from spacecast.config.compose import conf_dir

SHARDS = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.shards=2"]
SHARDED = [*SHARDS, "model=graph_fm", "model.magnetic=free", "model.state_law=free", "loss=mse", "loss.input_noise=0"]
FAST = {  # refused before anything of the data is touched
    "misspelt key": (["sede=2"], "unknown key 'sede'; did you mean 'seed'?"),
    "misspelt key of a section": (["trainer.max_epoch=2"], "did you mean 'trainer.max_epochs'?"),
    "misspelt keyword of a model": (["model.hiden_dim=8"], "did you mean 'model.hidden_dim'?"),
    "added top-level key": (["+sead=1"], "unknown key 'sead'; did you mean 'seed'?"),
    "forced top-level key": (["++sead=1"], "did you mean 'seed'?"),
    "added key of a plain section": (["+paths.data_dri=x"], "did you mean 'paths.data_dir'?"),
    "added keyword of a model": (["+model.hiden_dim=8"], "did you mean 'model.hidden_dim'?"),
    "forced keyword of an optimiser": (["++optimizer.wieght_decay=0"], "did you mean 'optimizer.weight_decay'?"),
    "added keyword of the trainer": (["+trainer.limit_train_batchs=1"], "'trainer.limit_train_batches'?"),
    "unknown member": (["model=graph_fn"], "group 'model' has no member 'graph_fn'; did you mean 'graph_fm'?"),
    "unknown group": (["modle=graph_fm"], "unknown key 'modle'; did you mean 'model'?"),
    "unknown experiment": (["experiment=smoek"], "did you mean 'smoke'?"),
    "text for a number": (["model.hidden_dim=wide"], "model.hidden_dim: expected a whole number, found 'wide'"),
    "fraction for a whole number": (["data.batch_size=1.5"], "data.batch_size: expected a whole number"),
    "number for true or false": (["dry_run=3"], "dry_run: expected true or false, found 3"),
    "list for a number": (["seed=[1,2]"], "seed: expected a whole number"),
    "negative seed": (["seed=-1"], "seed: expected"),
    "width zero": (["model.hidden_dim=0"], "model.hidden_dim: expected at least 1, found 0"),
    "negative learning rate": (["optimizer.lr=-0.1"], "optimizer.lr: expected at least 0"),
    "infinite weight": (["loss.div_weight=inf"], "loss.div_weight: expected a finite number"),
    "no epochs": (["trainer.max_epochs=0"], "trainer.max_epochs: expected at least 1"),
    "one of several words": (["model=graph_fm", "model.vertical=propagaton"], "did you mean 'propagation'?"),
    "kind of noise": (["model.noise={globl: 16}"], "model.noise: expected a mapping of 'global' or 'local' or 'every'"),
    "section replaced by a number": (["++trainer=3"], "trainer"),
    "target without module": (["model._target_=nowhere.Model"], "there is no module 'nowhere'"),
    "target without class": (
        ["model._target_=spacecast.models.persistence.Persistense"],
        "did you mean 'Persistence'?",
    ),
    "override without value": (["seed"], "cannot read the override 'seed'"),
    "unclosed list": (["evaluation.runs=[1"], "cannot read the override"),
    "several values without -m": (["seed=1,2"], "add -m to run each"),
    "one bad value in a sweep": (["-m", "seed=1,2,x"], "seed: expected a whole number, found 'x'"),
    "deleted key": (["~model.hidden"], "unknown key 'model.hidden'; did you mean 'model.hidden_dim'?"),
    "mandatory value": (["graph=stored"], "graph.path has no value; give graph.path=VALUE"),
    "environment": (["paths.data_dir=${oc.env:NO_SUCH}"], "NO_SUCH"),
    "interpolation": (["seed=${nothing}"], "seed: Interpolation key 'nothing' not found"),
    "unknown flag": (["--dry-run"], "unrecognized arguments: --dry-run"),
    "configuration folder": (["--config-dir", "nowhere"], "there is no folder nowhere"),
    "run folder below a file": (["paths.run_dir=/dev/null/run"], "paths.run_dir=/dev/null/run: cannot write there"),
    "file store": (["logger.tracking_uri=file:mlruns"], "logger.tracking_uri=file:mlruns"),
    "no gpu": (["trainer.accelerator=tpu"], "trainer: "),
    "wrong precision": (["trainer.precision=12"], "trainer.precision: expected"),
    "range of a graph": (["graph.coarsening=1", "graph=multiscale"], "graph.coarsening"),
    "switch points": (["model=graph_fm", "schedule.switches=[0.9,0.1]"], "do not ascend"),
    "betas of the optimiser": (["optimizer.betas=[0.9,1.5]"], "optimizer: Invalid beta"),
    "unknown loss": (["loss.loss=wmsee"], "did you mean 'wmse'?"),
    "variable of the loss, before data": (["+loss.variable_weights.rhoo=2"], "did you mean 'rho'?"),
    "variable of a limit, before data": (["model.lower={PP: 0}"], "no variable 'PP'"),
    "wrong pair, before data": (["model=graphcast", "graph=hierarchical"], "use graph=simple or graph=multiscale"),
    "run that is not simulated": (["datastore.runs=[1,7]"], "run 7 will not be simulated"),
    "nothing to train on": (["datastore.holdout=[1,2,3,4]"], "no prepared run to train on"),
    "lead longer than a split to come": (["evaluation.steps=119"], "evaluation.steps=119: split 'all' of run unseen"),
    "lead longer than a split that is asked for": (
        ["evaluation.steps=100", "evaluation.split=test"], "evaluation.steps=100: split 'test' of run 1",
    ),
    "roll-out longer than a split to come": (["schedule.rollout_steps=200"], "schedule.rollout_steps=200: split"),
    "split of data to come": (["evaluation.split=tset"], "did you mean 'test'?"),
    "bound of a boundary to come": (["datastore.boundary={x_mni: 3}"], "did you mean 'x_min'?"),
    "bound of a region to come": (["evaluation.regions={tail: {xmax: 0}}"], "did you mean 'x_max'?"),
    "not a number in a mapping": (["loss.variable_weights={rho: nan}"], "loss.variable_weights.rho: expected a finite"),
    "not a number in a list": (
        ["model=graph_fm", "schedule.switches=[nan,1.0]"], "schedule.switches[0]: expected a finite number"
    ),
    "scaled gradients on a processor": (["trainer.precision=16-mixed", "trainer=cpu"], "16-mixed needs a GPU"),
    "no accumulation": (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches: expected at least 1"),
    "never validated": (["trainer.check_val_every_n_epoch=0"], "trainer.check_val_every_n_epoch: expected at least 1"),
    "negative clipping": (["trainer.gradient_clip_val=-1"], "trainer.gradient_clip_val: expected at least 0"),
    "negative cache": (["datastore.cache_gb=-1"], "datastore.cache_gb: expected at least 0"),
    "no run to score": (["evaluation.runs=[]"], "evaluation.runs: the list is empty"),
    "region called all": (["evaluation.regions={all: {x_max: 0}}"], "regions.all: 'all' is the whole domain"),
    "members without chance": (["evaluation=ensemble"], "evaluation.members=6: GraphUNet draws nothing"),
    "more windows at a time than places": (
        ["schedule=own_states", "data.batch_size=17"], "data.batch_size=17 is more than schedule.pool_size=16"
    ),
    "own states of the bound": (
        ["model=graph_efm", "loss=elbo", "schedule=own_states"], "elbo.ElboObjective takes no keep, and so no states of"
    ),
    "fewer devices than shards": (
        ["trainer.shards=2"],
        "trainer.shards=2 takes 2 processes for each sample, trainer.devices x trainer.num_nodes is 1: give a multiple",
    ),
    "shards of a convolution": (SHARDS, "trainer.shards=2: GraphUNet needs the whole grid in one process; take model="),
    "shards that share what a setting needs": (
        [*SHARDED, "model.magnetic=potential", "model.guard=0.1", "model.noise={global: 2}", "loss.div_weight=1"],
        "trainer.shards=2: model.noise, model.magnetic=potential, model.guard=0.1, loss.div_weight need the whole grid "
        "in one process; train with model.noise=null model.magnetic=free model.guard=null loss.div_weight=0",
    ),
    "shards with noise on the inputs": ([*SHARDED, "loss.input_noise=0.3"], "train with loss.input_noise=0"),
    "shards of ensembles": (
        [*SHARDED, "loss=ensemble_crps", "evaluation=deterministic"], "2: EnsembleObjective needs the whole grid"
    ),
    "shards of own states": ([*SHARDED, "schedule=own_states"], "a schedule with own states keeps whole ones"),
    "rehearsal of shards": ([*SHARDED, "dry_run=true"], "a dry run takes its steps in one process"),
    "average of nothing": (["trainer.ema=1.5"], "trainer.ema: expected from 0 to 1"),
    "experiment with a plus": (["+experiment=smoke"], "leave the plus out: experiment=smoke"),
    "experiment with two": (["++experiment=smoke"], "leave the plus out: experiment=smoke"),
    "member with a plus": (["+model=graph_efm"], "leave the plus out: model=graph_efm"),
    "key with a plus": (["+seed=3"], "seed is there already; leave the plus out: seed=VALUE"),
    "group that is needed": (["model=null"], "model=null: leave it out, or choose one of graph_efm, graph_fm"),
    "needed group in a sweep": (["-m", "trainer=cpu,null"], "leave it out, or choose one of auto, cpu"),
    "group without members": (["local=null"], "leave it out"),
    "unknown simulation": (["simulation=magnetospher"], "did you mean 'magnetosphere'?"),
    "key of no launcher": (["launcher.hours=3"], "no launcher in use; choose launcher=slurm or slurm_debug as well"),
    "added key of no launcher": (["+launcher.hours=3"], "launcher.hours: there is no launcher in use"),
    "key of no simulation": (["datastore=vlasiator", "simulation.preset=tiny"], "choose simulation=magnetosphere"),
    "experiment and a member that it does not suit": (
        ["experiment=smoke", "model=persistence"],
        "experiment=smoke sets model.hidden_dim, which Persistence does not take; add ~model.hidden_dim",
    ),
    "the same in a sweep": (
        ["-m", "experiment=smoke", "model=graph_fm,persistence"], "experiment=smoke sets model.hidden_dim"
    ),
    "the same with a published training": (
        ["experiment=paper/graph_fm_simple", "schedule=constant"],
        "sets schedule.switches, schedule.rollout_lr_factor, which ConstantSchedule does not take",
    ),
    "fact of the data": (["+model.spec=3"], "model.spec is filled in by spacecast itself"),
    "fact of the run": (["+simulation.overwrite=true"], "simulation.overwrite is filled in by spacecast itself"),
    "unknown parameter of the simulation": (["+simulation.cadense=3"], "cadense"),
}


@pytest.mark.parametrize("mistake", FAST)
def test_fast_mistakes(run, workplace, mistake, monkeypatch):
    monkeypatch.setattr("spacecast.app.assemble.make_data", lambda config: pytest.fail("the data were touched"))
    words, message = FAST[mistake]
    result = run("spacecast-train", *words)
    assert result.code == 2, result
    assert result.line.startswith("spacecast-train: error: ")
    assert message in result.line
    assert list(workplace.iterdir()) == []


WITH_DATA = {
    "roll-out longer than the split": (["schedule.rollout_steps=40"], "schedule.rollout_steps=40"),
    "validation longer than the split": (["data.val_steps=9"], "data.val_steps=9"),
    "lead longer than the split": (["evaluation.steps=9"], "evaluation.steps=9"),
    "unknown split": (["evaluation.split=tset"], "did you mean 'test'?"),
    "unknown run": (["datastore.runs=[2]"], "run 2"),
    "variable of the loss": (
        ["+loss.variable_weights.rhoo=2"],
        "the data have no variable 'rhoo'; did you mean 'rho'?",
    ),
    "variable of a limit": (["model.lower={PP: 0}"], "no variable 'PP'"),
    "bound of the boundary": (["datastore.boundary={x_mni: 3}"], "did you mean 'x_min'?"),
    "boundary everywhere": (["datastore.boundary={x_min: -100}"], "boundary"),
    "bound of a region": (["evaluation.regions={tail: {xmax: 0}}"], "did you mean 'x_max'?"),
    "wrong pair": (["model=graphcast", "graph=hierarchical"], "use graph=simple or graph=multiscale"),
    "mesh too coarse": (["graph.mesh_spacing=100"], "graph.mesh_spacing=100"),
    "other simulation in the folder": (["simulation.seed=4"], "spacecast-data simulate with overwrite=true makes"),
    "data that are not there": (["datastore=vlasiator"], "does not exist"),
}


@pytest.mark.parametrize("mistake", WITH_DATA)
def test_mistakes_that_the_data_show(run, workplace, small, mistake):
    words, message = WITH_DATA[mistake]
    if words[0] == "datastore=vlasiator":
        small = [word for word in small if "simulation." not in word]
    if words[0] == "model=graphcast":
        small = [word for word in small if not word.startswith(("model.", "model="))]
    result = run("spacecast-train", *small, *words)
    assert result.code == 2, result
    assert message in result.line
    assert list(workplace.iterdir()) == []


OTHERS = {
    "nothing to evaluate": ("spacecast-evaluate", [], "checkpoint has no value; give checkpoint=VALUE"),
    "no such checkpoint": ("spacecast-evaluate", ["checkpoint=nowhere"], "no checkpoint at"),
    "no action": ("spacecast-data", [], "say what to do: simulate, prepare, inspect, download"),
    "unknown action": ("spacecast-data", ["simulte"], "did you mean 'simulate'?"),
    "unknown preset": ("spacecast-data", ["simulate", "preset=tinny"], "did you mean 'tiny'?"),
    "nothing to simulate": ("spacecast-data", ["simulate", "datastore=vlasiator"], "these data are not simulated"),
    "nothing to download": ("spacecast-data", ["download"], "these data are simulated"),
    "nothing to prepare": ("spacecast-data", ["prepare", "datastore.root=nowhere"], "does not exist"),
    "nothing to inspect": ("spacecast-data", ["inspect", "datastore.root=nowhere"], "does not exist"),
    "picture that is a number": ("spacecast-graph", ["picture=3"], "picture: expected a path or null, found 3"),
    "picture without a format": ("spacecast-graph", ["picture=p.xyz"], "/p.xyz: the suffix names no format"),
    "picture below a file": ("spacecast-graph", ["picture=/dev/null/p.png"], "/dev/null is a file"),
    "checkpoint that is a number": ("spacecast-evaluate", ["checkpoint=3"], "no checkpoint at"),
    "key of another command": ("spacecast-graph", ["model.hidden_dim=3"], "unknown key 'model.hidden_dim'"),
}


@pytest.mark.parametrize("mistake", OTHERS)
def test_mistakes_with_other_commands(run, workplace, mistake):
    command, words, message = OTHERS[mistake]
    result = run(command, *words)
    assert result.code == 2, result
    assert result.line.startswith(f"{command}: error: ")
    assert message in result.line
    assert list(workplace.iterdir()) == []


INJECTED = {
    "model": ("spec", "graph"), "loss": ("spec",), "datastore": ("progress",), "data": ("datastore", "rollout_steps"),
    "optimizer": ("params",), "evaluation": ("model", "datastore", "spec", "device", "out_dir", "progress"),
    "trainer": ("logger", "callbacks", "default_root_dir"),
}  # fmt: skip


@pytest.mark.parametrize("section", INJECTED)
def test_only_keys_that_can_be_set_are_proposed(run, section):
    line = run("spacecast-train", f"+{section}.qqqqqqqqqqqqqqq=1").line
    valid = {word.strip(",") for word in line.partition("valid:")[2].split()}
    assert valid
    assert not valid & {f"{section}.{name}" for name in INJECTED[section]}


def test_a_setting_of_this_machine_that_does_not_suit_is_named(run, workplace, tmp_path_factory):
    conf = tmp_path_factory.mktemp("project") / "conf"
    shutil.copytree(conf_dir(), conf)
    local = conf / "local" / "default.yaml"
    local.write_text("# @package _global_\nmodel: {hidden_dim: 8}\nlauncher: {account: me}\n")
    line = run("spacecast-train", "--config-path", str(conf), "model=persistence").line
    assert "conf/local/default.yaml sets model.hidden_dim, which Persistence does not take" in line
    local.write_text("# @package _global_\ntrainer: {max_epoch: 8}\n")
    line = run("spacecast-train", "--config-path", str(conf)).line
    assert "conf/local/default.yaml: unknown key 'trainer.max_epoch'; did you mean 'trainer.max_epochs'?" in line


def test_an_experiment_made_of_another_one_is_named(run, workplace, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    (own / "experiment").mkdir()
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\ndefaults: [smoke]\nseed: 3\n")
    line = run("spacecast-train", "--config-dir", str(own), "experiment=mine", "model=persistence").line
    assert "experiment=mine sets model.hidden_dim, which Persistence" in line


def test_a_typo_in_an_own_experiment_is_found(run, workplace: Path, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    (own / "experiment").mkdir()
    (own / "experiment" / "mine.yaml").write_text("# @package _global_\ntrainer:\n  max_epoch: 3\n")
    result = run("spacecast-train", "--config-dir", str(own), "experiment=mine")
    assert (result.code, "did you mean 'trainer.max_epochs'?" in result.line) == (2, True)
    (own / "experiment" / "broken.yaml").write_text("trainer: [1\n")
    result = run("spacecast-train", "--config-dir", str(own), "experiment=broken")
    assert (result.code, "not valid YAML" in result.line, "broken.yaml" in result.line) == (2, True, True)
