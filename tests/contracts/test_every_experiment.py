"""What holds for every experiment of conf/experiment. That they train is in tests/app/test_presets.py."""

from spacecast.config.compose import conf_dir, group_members
from spacecast.core.types import Stage


def test_it_is_a_whole_configuration_that_gives_way_to_what_is_typed(experiment_member, composed):
    """Its keys exist and have the right types, and what can be built without data can be built."""
    config = composed(f"experiment={experiment_member}", "trainer.max_epochs=7", "optimizer.lr=0.5")
    assert (config.trainer.max_epochs, config.optimizer.content["lr"]) == (7, 0.5)
    assert config.schedule.content["epochs"] == 7
    assert isinstance(config.schedule.build().at(0), Stage)
    assert config.graph.build().recipe
    for section in (config.model, config.loss, config.optimizer, config.data, config.evaluation):
        assert callable(section.build())


def test_all_presets_of_the_paper_differ_from_each_other(composed):
    names = [name for name in group_members([conf_dir()])["experiment"] if name.startswith("paper/")]
    found = [composed(f"experiment={name}", "trainer.max_epochs=7", "optimizer.lr=0.5") for name in names]
    assert len({(config.model.target, str(config.graph.content)) for config in found}) == len(names) == 6
