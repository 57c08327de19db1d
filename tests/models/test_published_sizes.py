"""Numbers of parameters at the published sizes; they do not depend on the number of nodes."""

import pytest

PUBLISHED = [
    ("graph_fm", 1, 12, 6_648_076),
    ("graph_fm", 3, 6, 31_147_788),
    ("graph_efm", 1, 12, 9_028_876),
    ("graph_efm", 3, 6, 23_390_988),
]


@pytest.mark.parametrize(("name", "levels", "layers", "expected"), PUBLISHED)
def test_parameters_at_published_size(name, levels, layers, expected, build_model, tiny_spec, tiny_grid, graph_factory):
    sizes = {"hidden_dim": 256, "decode_dim": 128, "processor_layers": layers, "hidden_layers": 1, "inputs": "states"}
    if name == "graph_efm":
        sizes |= {"prior": "learned", "latent_dim": None, "encoder_layers": 1, "prior_layers": 1}
    model = build_model(name, tiny_spec, graph_factory(tiny_grid, levels), **sizes)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
