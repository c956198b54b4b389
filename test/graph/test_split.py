"""Head and tail against the unsplit network, bit for bit, on every network we claim to split."""

from __future__ import annotations

import pytest
import torch
from graph.graph_networks import NETWORKS, build, over_the_wire, some_boundaries
from torch import Tensor

from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import trace


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def check_every_cut(runner: GraphRunner, image: Tensor) -> int:
    """Run head, wire and tail for each boundary of each exit; returns how many."""
    dag = runner.dag
    unsplit = runner.run({dag.input: image}, dag.outputs)
    other = runner.run({dag.input: torch.flip(image, (-1,)) * 0.5}, dag.outputs)
    checked = 0
    for number, sink in enumerate(dag.outputs, start=1):
        # Otherwise equality would show nothing.
        assert torch.isfinite(unsplit[sink]).all()
        assert not torch.equal(unsplit[sink], other[sink])
        for boundary in some_boundaries(dag, number):
            head = runner.run({dag.input: image}, boundary)
            tail = runner.run(over_the_wire(head), [sink])
            assert torch.equal(tail[sink], unsplit[sink]), f"exit {number}, boundary {boundary}"
            checked += 1
    return checked


@pytest.mark.parametrize("name", NETWORKS)
def test_tail_of_head_is_the_unsplit_network(name: str) -> None:
    model, image = build(name)
    traced = trace(model, image)
    unfolded = GraphRunner(traced, fold_batch_norm=False)
    with torch.inference_mode():
        eager = model(image)
    # Without folding nothing at all may change; folding may change the rounding.
    assert torch.equal(
        unfolded.run({"x": image}, unfolded.dag.outputs)[unfolded.dag.exit_sink(1)], eager
    )
    runner = GraphRunner(traced)
    del model, traced, unfolded
    folded = runner.run({"x": image}, runner.dag.outputs)[runner.dag.exit_sink(1)]
    torch.testing.assert_close(folded, eager, rtol=1e-4, atol=1e-4 * float(eager.abs().max()))
    assert check_every_cut(runner, image) >= 12
