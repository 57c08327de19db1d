"""Which of several processes this one is, and where it computes: Lightning's answer for the section `trainer`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from spacecast.core.errors import UserError
from spacecast.process.signals import first_process, in_batch_job

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that were asked for.

    Args:
        rank, world: see `Processes`.
        device: where to compute.
        here: how many run on this machine.
        alone: nobody has started the others.
        address, port: of the first process, where others have been started.

    """

    rank: int
    world: int
    device: torch.device
    here: int = 1
    alone: bool = True
    address: str = HERE
    port: int = 0

    @property
    def threads(self) -> int:
        """Threads for this process, so that those of one machine share its cores."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return int(os.environ.get("SLURM_CPUS_PER_TASK", max(1, cores // self.here)))


def launched(accelerator: str, devices: int | str | Sequence[int], num_nodes: int) -> Place:
    """What Lightning makes of the section `trainer` in this environment.

    Raises:
        UserError: the machine does not have these devices, or other processes were started than are asked for.

    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import ClusterEnvironment, LightningEnvironment, SLURMEnvironment
    from lightning_fabric.strategies import DDPStrategy

    if accelerator == "auto":  # other kinds lack operations that models need
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    step = "SLURM_STEP_ID" in os.environ  # else a process of a batch job that srun has not started is alone
    scheduled = step and in_batch_job(os.environ) and SLURMEnvironment.detect()
    try:
        environment: ClusterEnvironment = SLURMEnvironment(auto_requeue=False) if scheduled else LightningEnvironment()
        wanted = {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes}
        strategy = Fabric(**wanted, plugins=[environment]).strategy
        here = strategy.num_processes if isinstance(strategy, DDPStrategy) else 1
    except (ImportError, ValueError, TypeError, RuntimeError) as error:  # of which are those of Lightning
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    world, device = here * num_nodes, strategy.root_device
    alone = not environment.creates_processes_externally
    there = environment.world_size() if scheduled else int(os.environ.get("WORLD_SIZE", world))
    if (not alone and there != world) or (world == 1 and not first_process()):
        asked = f"trainer.devices={devices} and trainer.num_nodes={num_nodes} ask for {world} in all"
        raise UserError(f"{asked}, but {'several' if there == world else there} processes were started; let them agree")
    if world == 1:
        return Place(0, 1, device)
    try:
        environment.validate_settings(num_devices=here, num_nodes=num_nodes)
    except ValueError as error:
        raise UserError(f"trainer: {error}") from error
    if alone and num_nodes > 1:
        raise UserError(f"trainer.num_nodes={num_nodes}: several machines take a scheduler; start it by srun")
    rank = environment.global_rank() if scheduled else environment.node_rank() * here + environment.local_rank()
    at = {} if alone else {"address": environment.main_address, "port": environment.main_port}
    return Place(rank, world, device, here, alone, **at)


def variables(place: Place, rank: int, port: int) -> dict[str, str]:
    """What tells a process on this machine which one it is."""
    where = {"MASTER_ADDR": HERE, "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(place.world)}
    return {"OMP_NUM_THREADS": str(place.threads), **_given("OMP_NUM_THREADS"), **where, "LOCAL_RANK": str(rank)}


def _given(name: str) -> dict[str, str]:
    """A variable of the environment, where it is set."""
    return {name: os.environ[name]} if name in os.environ else {}
