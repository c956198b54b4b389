"""What a cut costs an engine that fuses nodes, measured at a few cuts of the real network."""

from __future__ import annotations

import time

import numpy as np

from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.runtime.cut_costs import CUTS, measure_cuts, spread_cuts
from dapdee_ros.runtime.profiling import measure_engine


def test_cuts_through_one_tensor_are_found_from_small_to_large() -> None:
    dag = load_runnable(find_model("roadsigns"), "onnxruntime").card.dag
    chosen = spread_cuts(dag, len(dag.exits), CUTS)
    sizes = [dag.by_name[name].output_bytes for name in chosen]
    assert len(chosen) == CUTS
    assert spread_cuts(dag, len(dag.exits), 1) == chosen[:1]
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0]
    forbidden = {dag.input, *dag.image_forms, *dag.exit_outputs(len(dag.exits))}
    assert forbidden.isdisjoint(chosen)
    for name in chosen:
        assert dag.boundary(dag.ancestors([name]), len(dag.exits)) == (name,)


def test_the_cost_is_measured_within_its_budget_and_part_of_a_profile() -> None:
    model = load_runnable(find_model("roadsigns"), "onnxruntime")
    node = model.card.dag.nodes[0]
    image = np.zeros(node.shape, node.dtype)
    measure_cuts(model.engine, image, 0.0)
    began_s = time.monotonic()
    found = measure_cuts(model.engine, image, 0.2)
    assert time.monotonic() - began_s < 2.0
    assert 0 <= found.fixed_s < 0.1
    assert 0 <= found.s_per_byte < 1e-6
    profile = measure_engine(model.engine, model_id=model.card.model_id, budget_s=0.3)
    assert 0 <= profile.boundary_s(model.card.dag.nodes[1:2]) < 0.1
    assert profile.engine == model.engine.name
