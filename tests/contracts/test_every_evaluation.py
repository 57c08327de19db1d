"""What holds for every evaluation of conf/evaluation."""

import inspect
import math

import numpy as np
import pytest

from spacecast.evaluation.evaluator import evaluate
from spacecast.evaluation.regions import region_masks
from spacecast.models.persistence import Persistence


def test_it_binds_to_what_it_names_with_values_of_plain_types(evaluation_member, composed):
    call = composed(f"evaluation={evaluation_member}").evaluation.build()
    inspect.signature(call.func).bind(None, None, **call.keywords)
    assert call.func is evaluate
    assert type(call.keywords["regions"]) is dict
    assert (call.keywords["steps"], call.keywords["runs"], call.keywords["split"]) == (None, "auto", None)
    assert call.keywords["windows"] == (6 if evaluation_member == "ensemble" else 12)
    assert (call.keywords.get("members", 1) > 1) == (evaluation_member == "ensemble")


def test_its_scores_are_numbers_for_every_variable_lead_and_region_and_the_same_again(
    evaluation_member, composed, tiny_store, tiny_graph
):
    spec = tiny_store.spec
    call = composed(f"evaluation={evaluation_member}").evaluation.build(steps=2, examples=0, batch_size=3)
    model = Persistence(spec, tiny_graph)
    scores, again = call(model, tiny_store), call(model, tiny_store)
    np.testing.assert_equal(scores.rows, again.rows)  # a skill may be NaN, the same twice
    assert scores.variables == list(spec.state.names)
    assert scores.lead_seconds == [spec.step_seconds, 2 * spec.step_seconds]
    regions = set(region_masks(spec, call.keywords["regions"]))  # a small plane has no part in some of them
    assert {"all", "inner", "tail"} <= regions <= {"all", *call.keywords["regions"]}
    assert {row.region for row in scores} == regions
    errors = [row for row in scores if row.metric == "rmse" and row.variable in spec.state.names]
    assert len(errors) == len(spec.state) * 2 * len(regions)
    assert all(math.isfinite(row.value) and row.value > 0 for row in errors)
    skill = [row.value for row in scores if row.metric == "skill"]
    assert skill == pytest.approx([0] * len(skill), abs=1e-6)  # it is persistence that is scored
