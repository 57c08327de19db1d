"""What holds for every simulation of conf/simulation."""

import inspect

from spacecast.data.datastore import RunDatastore
from spacecast.simulation import get_parameters


def test_it_binds_to_what_it_names_and_its_runs_are_those_of_the_datastore(simulation_member, composed):
    config = composed(f"simulation={simulation_member}")
    if config.simulation is None:
        assert simulation_member == "none"
        return
    call = config.simulation.build()
    inspect.signature(call.func).bind(**call.keywords)
    assert call.keywords["root"] == str(config.datastore.root)
    assert config.datastore.target.rpartition(".")[2] == RunDatastore.__name__


def test_its_parameters_are_possible_for_every_density(simulation_member, composed):
    config = composed(f"simulation={simulation_member}")
    if config.simulation is None:
        return
    content = config.simulation.content
    assert len(set(content["densities"])) == len(content["densities"]) > 1
    for density in content["densities"]:
        parameters = get_parameters(content["preset"], density=density)
        assert parameters.nx > 0
        assert parameters.frames > 0
