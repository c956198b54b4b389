"""Running parts: exactly what is needed, nothing kept, nothing changed, nonsense refused."""

from __future__ import annotations

import gc
import weakref
from itertools import pairwise

import pytest
import torch
from graph.graph_networks import build
from torch import Tensor, nn

from dapdee_ros.graph import runner as runner_module
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.graph.layout import Layout, lay_out
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import trace


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Ladder(nn.Module):
    """Three exits on a chain of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.heads = nn.ModuleList(nn.Linear(6, 2) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        exits = []
        for step, head in zip(self.steps, self.heads, strict=True):
            x = torch.relu(step(x))
            exits.append(head(x))
        return tuple(exits)


@pytest.fixture
def ladder() -> GraphRunner:
    torch.manual_seed(0)
    return GraphRunner(trace(Ladder(), torch.zeros(1, 6)))


def names_run(runner: GraphRunner, given: dict[str, Tensor], targets: list[str]) -> list[str]:
    ran = []

    def observe(name: str, operation: object) -> object:
        ran.append(name)
        return operation()  # type: ignore[operator]

    runner.run_observed(given, targets, observe)
    return ran


def test_runs_exactly_what_is_needed(ladder: GraphRunner) -> None:
    x = torch.randn(1, 6)
    assert names_run(ladder, {"x": x}, ["heads.0"]) == ["steps.0", "relu", "heads.0"]
    relu = ladder.run({"x": x}, ["relu"])
    assert names_run(ladder, relu, ["heads.1"]) == ["steps.1", "relu_1", "heads.1"]
    # More than needed is fine, and what is given is not computed.
    assert names_run(ladder, {"x": x, **relu}, ["heads.0"]) == ["heads.0"]
    assert names_run(ladder, {"x": x}, ["x"]) == []


def test_stages_keep_what_later_ones_need(ladder: GraphRunner) -> None:
    x = torch.randn(1, 6)
    whole = ladder.run({"x": x}, ladder.dag.outputs)
    calls = 0
    for step in ("steps.0", "steps.1", "steps.2"):
        assert step in names_run(ladder, {"x": x}, list(ladder.dag.outputs))
    stages = ladder.run_stages({"x": x}, [["heads.0"], ["relu", "heads.0"], ["heads.1", "heads.2"]])
    for result, expected in zip(
        stages, [["heads.0"], ["relu", "heads.0"], ["heads.1", "heads.2"]], strict=True
    ):
        calls += 1
        assert list(result) == expected
        assert not torch.is_inference_mode_enabled()
        for name, tensor in result.items():
            if name in whole:
                assert torch.equal(tensor, whole[name])
    assert calls == 3


def test_a_gate_can_stop(ladder: GraphRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = 0
    execute = runner_module._execute

    def counted(steps: object, values: object) -> None:
        nonlocal ran
        ran += len(steps)  # type: ignore[arg-type]
        execute(steps, values)  # type: ignore[arg-type]

    monkeypatch.setattr(runner_module, "_execute", counted)
    stages = ladder.run_stages({"x": torch.randn(1, 6)}, [["heads.0"], ["heads.2"]])
    assert ran == 0
    next(stages)
    assert ran == 3
    stages.close()  # type: ignore[attr-defined]
    assert ran == 3


def test_tensors_are_freed_when_last_read() -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            nonlocal most
            result = x * 1.5
            alive.append(weakref.ref(result))
            most = max(most, sum(ref() is not None for ref in alive))
            return result

    model = nn.Sequential(*(Watch() for _ in range(6)))
    image = torch.randn(1, 1000)
    runner = GraphRunner(trace(model, image, leaf_modules=[Watch]))
    alive.clear()
    most = 0
    result = runner.run({"input": image}, ["5"])
    assert most == 2  # what is read and what is written
    kept = runner.run_stages({"input": image}, [["1"], ["5"]])
    alive.clear()
    first = next(kept)
    del first
    result = next(kept)
    del kept
    gc.collect()
    assert [ref() is not None for ref in alive] == [False] * 5 + [True]
    assert result["5"].shape == (1, 1000)


def test_given_tensors_are_never_changed() -> None:
    model, image = build("resnet18")
    runner = GraphRunner(trace(model, image))
    before = image.clone()
    names = [node.name for node in runner.dag.nodes]
    tensors = runner.run({"x": image}, names)
    assert torch.equal(image, before)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    for name, after in pairwise(names):
        runner.run({"x": image, name: tensors[name]}, [after, *runner.dag.outputs])
    assert all(torch.equal(copies[name], tensors[name]) for name in names)


def test_in_place_forms_are_used_where_nobody_can_tell() -> None:
    model, image = build("resnet18")
    runner = GraphRunner(trace(model, image))
    plan = runner._plan(("x",), (runner.dag.outputs,))
    overwriting = {
        step.name
        for step in plan.stages[0]
        for operation in [runner._operations[step.slot]]
        if operation is not None and step.call is operation.call_in_place
    }
    assert {"relu", "layer1.0.relu", "layer1.0.add", "layer4.1.relu_1"} <= overwriting
    # Handed out, so not to be overwritten.
    plan = runner._plan(("x",), (("bn1", "relu"),))
    assert all(step.call is runner._operations[step.slot].call for step in plan.stages[0])  # type: ignore[union-attr]


def test_one_copy_of_the_weights() -> None:
    model, image = build("squeezenet1_1")
    runner = GraphRunner(trace(model, image))
    for boundary in ("features.2", "features.7.cat"):
        runner.run(runner.run({"x": image}, [boundary]), runner.dag.outputs)
    pointers = {p.data_ptr() for p in model.parameters()}
    gc.collect()
    copies = [
        t
        for t in gc.get_objects()
        if type(t) is nn.Parameter and t.dim() == 4 and t.shape[0] == 1000
    ]
    assert {t.data_ptr() for t in copies} <= pointers


def test_plans_are_kept_within_bounds(ladder: GraphRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "PLANS_KEPT", 2)
    x = torch.randn(1, 6)
    for target in ("heads.0", "heads.1", "heads.2", "heads.0"):
        ladder.run({"x": x}, [target])
    assert len(ladder._plans) == 2
    plan = ladder._plan(("x",), (("heads.0",),))
    assert ladder._plan(("x",), (("heads.0",),)) is plan


@pytest.mark.parametrize(
    ("given", "targets", "message"),
    [
        ({}, ["heads.0"], r"\[\] don't suffice .*'x' would be needed too"),
        ({"relu_1": (1, 6)}, ["heads.0"], "'x' would be needed too"),
        ({"x": (1, 7)}, ["heads.0"], r"'x' should be float32 \(1, 6\), .* float32 \(1, 7\)"),
        ({"x": (2, 6)}, ["heads.0"], r"float32 \(2, 6\)"),
        ({"y": (1, 6)}, ["heads.0"], r"no nodes \['y'\]"),
        ({"x": (1, 6)}, ["heads.9"], r"no nodes \['heads.9'\]"),
    ],
)
def test_what_does_not_fit_is_refused(
    ladder: GraphRunner, given: dict[str, tuple[int, ...]], targets: list[str], message: str
) -> None:
    with pytest.raises(GraphError, match=message):
        ladder.run({name: torch.zeros(shape) for name, shape in given.items()}, targets)


def test_a_wrong_dtype_is_refused_at_the_call(ladder: GraphRunner) -> None:
    with pytest.raises(GraphError, match=r"'x' should be float32 .* float64"):
        ladder.run_stages({"x": torch.zeros(1, 6, dtype=torch.float64)}, [["heads.0"]])


def test_a_size_taken_from_the_data_is_noticed() -> None:
    class Cropping(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : x[0, 0].item()].float()

    runner = GraphRunner(trace(Cropping(), torch.tensor([[2, 1, 1]])))
    (sink,) = runner.dag.outputs
    assert runner.run({"x": torch.tensor([[2, 5, 6]])}, [sink])[sink].tolist() == [[2, 5]]
    with pytest.raises(GraphError, match="depends on the data"):
        runner.run({"x": torch.tensor([[1, 5, 6]])}, [sink])


@pytest.mark.parametrize("shape", [(1, 4, 3, 5), (1, 1, 1, 7)])
def test_any_layout_is_restored(shape: tuple[int, ...]) -> None:
    dense = torch.randn(shape)
    variants = [
        dense,
        dense.contiguous(memory_format=torch.channels_last),
        dense.permute(0, 2, 3, 1),
        torch.randn(*shape[:-1], 9)[..., 2 : 2 + shape[-1]],
        torch.randn(1, shape[1], 1, 1).expand(shape),
    ]
    for tensor in variants:
        layout = Layout.of(tensor)
        arrived = torch.from_numpy(tensor.contiguous().numpy().copy())
        laid_out = lay_out(arrived, layout)
        assert torch.equal(laid_out, tensor)
        assert Layout.of(laid_out) == layout
        assert lay_out(laid_out, layout) is laid_out


def test_folding_drops_the_batch_norms_and_keeps_their_names() -> None:
    model, image = build("resnet18")
    traced = trace(model, image)
    folded, whole = GraphRunner(traced), GraphRunner(traced, fold_batch_norm=False)
    gone = {n.name for n in whole.dag.nodes} - {n.name for n in folded.dag.nodes}
    assert len(gone) == 20
    assert gone == {n.name for n in whole.dag.nodes if n.op == "conv2d"}
    assert folded.dag.by_name["bn1"].op == "conv2d"
    assert folded.dag.by_name["bn1"].inputs == ("x",)
    # The traced model can still give an unfolded runner, and the model its own results.
    again = GraphRunner(traced, fold_batch_norm=False)
    assert torch.equal(again.run({"x": image}, ["fc"])["fc"], whole.run({"x": image}, ["fc"])["fc"])


def test_a_used_up_model_leaves_no_second_copy_of_its_weights() -> None:
    model, image = build("resnet18")
    kept = trace(model, image)
    expected = GraphRunner(kept).run({"x": image}, ["fc"])["fc"]
    with torch.no_grad():
        own = model(image)
    lent = trace(model, image)
    result = GraphRunner(lent, use_up=True).run({"x": image}, ["fc"])["fc"]
    assert torch.equal(result, expected)
    # The module that was traced, and what else was traced from it, is as it was.
    with torch.no_grad():
        assert torch.equal(model(image), own)
    assert torch.equal(GraphRunner(kept).run({"x": image}, ["fc"])["fc"], expected)
    del kept
    folded = weakref.ref(model.get_parameter("layer1.0.conv1.weight"))
    not_folded = weakref.ref(model.get_parameter("fc.weight"))
    traced = trace(model, image)
    del model, lent
    gc.collect()
    assert folded() is not None
    runner = GraphRunner(traced, use_up=True)
    assert folded() is None
    assert not_folded() is not None
    assert torch.equal(runner.run({"x": image}, ["fc"])["fc"], expected)


def test_folding_leaves_alone_what_others_read() -> None:
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.read_twice = nn.Conv2d(4, 4, 1)
            self.twice = nn.Conv2d(4, 4, 1)
            self.norm = nn.BatchNorm2d(4)
            self.other = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            exit_1 = self.conv(x)
            x = self.read_twice(exit_1)
            y = self.norm(exit_1) + self.norm(x) + x
            return exit_1, self.other(self.twice(y)) + self.norm(self.twice(y))

    image = torch.randn(1, 3, 5, 5)
    model = Watched().eval()
    with torch.no_grad():
        model.norm.bias.add_(0.5)
    runner = GraphRunner(trace(model, image))
    assert [n.name for n in runner.dag.nodes] == [
        "x", "conv", "read_twice", "norm", "norm_1", "add", "add_1",
        "twice", "other", "twice_1", "norm_2", "add_2",
    ]  # fmt: skip
    out = runner.run({"x": image}, runner.dag.outputs)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(out.values(), model(image), strict=True))
