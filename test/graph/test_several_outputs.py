"""Exits of several outputs: traced, cut, run in two parts, written down."""

from __future__ import annotations

import json

import pytest
import torch
from graph.graph_networks import over_the_wire
from support.two_outputs import Predictors, detector, image
from torch import nn

from dapdee_ros.graph.cuts import contract, cuts
from dapdee_ros.graph.dag import GraphError, ModelDag, Node
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import trace


@pytest.fixture(scope="module")
def runner() -> GraphRunner:
    torch.set_num_threads(1)
    return GraphRunner(trace(detector(), torch.from_numpy(image())))


def test_an_exit_may_return_a_tuple_or_a_dict_of_tensors(runner: GraphRunner) -> None:
    assert runner.dag.exits == (
        ("early.exp", "early.sigmoid"),
        ("late.exp", "late.sigmoid"),
    )
    given = {runner.dag.input: torch.from_numpy(image())}
    with torch.inference_mode():
        early, late = detector()(given[runner.dag.input])
    whole = runner.run(given, runner.dag.outputs)
    for name, eager in zip(runner.dag.outputs, (*early, *late.values()), strict=True):
        torch.testing.assert_close(whole[name], eager)


def test_every_cut_gives_every_output_bit_for_bit(runner: GraphRunner) -> None:
    dag = runner.dag
    given = {dag.input: torch.from_numpy(image(1))}
    whole = runner.run(given, dag.outputs)
    crossing = 0
    for number, outputs in enumerate(dag.exits, start=1):
        found = cuts(dag, number)
        assert len({cut.boundary for cut in found}) == len(found)
        for cut in found:
            tail = runner.run(over_the_wire(runner.run(given, cut.boundary or outputs)), outputs)
            for name in outputs:
                assert torch.equal(tail[name], whole[name]), f"{name} over {cut.boundary}"
            crossing += not {*cut.boundary}.isdisjoint(outputs)
    assert crossing > 10


def test_a_leaf_that_returns_several_tensors_is_one_exit() -> None:
    x = torch.rand(1, 8, 4, 4)
    for named in (False, True):
        model = nn.Sequential(nn.Conv2d(8, 8, 1), OneExit(named)).eval()
        runner = GraphRunner(trace(model, x, leaf_modules=[Predictors]))
        (outputs,) = runner.dag.exits
        assert len(outputs) == 2
        with torch.inference_mode():
            eager = model(x)[0]
        boxes, scores = eager.values() if named else eager
        came = runner.run({runner.dag.input: x}, outputs)
        assert torch.equal(came[outputs[0]], boxes)
        assert torch.equal(came[outputs[1]], scores)


class OneExit(nn.Module):
    """A network's last module: one exit with two outputs."""

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.predictors = Predictors(8, named)

    def forward(self, x: torch.Tensor) -> tuple[object]:
        return (self.predictors(x),)


def test_outputs_are_never_merged_away(runner: GraphRunner) -> None:
    contraction = contract(runner.dag)
    assert len(contraction.dag.nodes) < len(runner.dag.nodes)
    assert contraction.dag.exits == runner.dag.exits


def test_a_graph_file_holds_the_outputs_of_every_exit(runner: GraphRunner) -> None:
    written = json.loads(json.dumps(runner.dag.to_dict()))
    assert written["exits"] == [list(outputs) for outputs in runner.dag.exits]
    assert ModelDag.from_dict(written) == runner.dag


def test_a_graph_file_with_one_output_an_exit_reads_as_before() -> None:
    nodes = [Node("image", "input", (), (1, 4), "uint8", 4, 0)]
    nodes += [
        Node(n, "op", (r,), (1, 4), "float32", 16, 1) for n, r in (("a", "image"), ("b", "a"))
    ]
    former = ModelDag(tuple(nodes), (("a",), ("b",))).to_dict()
    assert former["exits"] == ["a", "b"]
    assert ModelDag.from_dict(former).exits == (("a",), ("b",))
    for exits, why in (
        ([[]], "exit 1 has no output"),
        (["a", ["b", "c"]], r"exit 2 puts out \['c'\]"),
        ([], "at least one exit"),
        ([3], "not a model DAG"),
    ):
        with pytest.raises(GraphError, match=why):
            ModelDag.from_dict({**former, "exits": exits})


def test_the_one_output_of_an_exit_of_several_is_not_guessed(runner: GraphRunner) -> None:
    with pytest.raises(GraphError, match="exit 1 has 2 outputs, expected one"):
        runner.dag.exit_sink(1)
