"""What a trace says about a network, and what it says when it can't."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from graph.graph_networks import build
from torch import Tensor, nn

from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import TraceError, trace


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_shapes_bytes_and_operations_of_a_small_network() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    dag = trace(model, torch.randn(1, 3, 8, 8)).dag
    assert dag.exits == (("5",),)
    rows = [(n.op, n.inputs, n.shape, n.output_bytes, n.flops) for n in dag.nodes]
    assert rows == [
        ("input", (), (1, 3, 8, 8), 768, 0),
        ("conv2d", ("input",), (1, 4, 8, 8), 1024, 2 * 256 * 27),
        ("batchnorm2d", ("0",), (1, 4, 8, 8), 1024, 2 * 256),
        ("relu", ("1",), (1, 4, 8, 8), 1024, 256),
        ("maxpool2d", ("2",), (1, 4, 4, 4), 256, 64 * 4),
        ("flatten", ("3",), (1, 64), 256, 0),
        ("linear", ("4",), (1, 10), 40, 2 * 640),
    ]
    assert {n.dtype for n in dag.nodes} == {"float32"}


@pytest.mark.parametrize(
    ("name", "billions"),
    # Multiply-adds that torchvision's own table of weights states, at 224x224.
    [("resnet18", 1.81), ("mobilenet_v2", 0.30), ("vit_b_16", 17.56)],
)
def test_operations_agree_with_torchvisions_table(name: str, billions: float) -> None:
    weights = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    assert weights.meta["_ops"] == pytest.approx(billions, rel=0.02)
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
    model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        nn.init.zeros_(tensor)
    dag = trace(model, torch.zeros(1, 3, 224, 224)).dag
    counted = sum(node.flops for node in dag.nodes) / 2e9
    assert counted == pytest.approx(billions, rel=0.05)


def test_names_are_module_paths_and_survive_a_retrace() -> None:
    model, image = build("resnet18")
    first, second = trace(model, image).dag, trace(model, image).dag
    assert first == second
    extraction = importlib.import_module(f"{torchvision.__name__}.models.feature_extraction")
    theirs = extraction.get_graph_node_names(model)[1]
    assert [node.name for node in first.nodes] == theirs
    assert {"layer1.0.relu", "layer1.0.relu_1", "layer1.0.add"} <= {n.name for n in first.nodes}
    assert ModelDag.from_dict(first.to_dict()) == first


class TwoExits(nn.Module):
    """uint8 NHWC in, two exits out, with a tail that no exit needs."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.unused = nn.Linear(4, 2)
        self.early = nn.Linear(4, 2)
        self.late = nn.Linear(4, 2)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = self.body(image.permute(0, 3, 1, 2).float() / 255).mean((2, 3))
        self.unused(x)
        return [self.early(x), self.late(x.relu())]


def test_exits_in_order_and_nothing_that_no_exit_needs() -> None:
    dag = trace(TwoExits(), torch.zeros(1, 8, 8, 3, dtype=torch.uint8)).dag
    assert dag.exits == (("early",), ("late",))
    assert dag.input == "image"
    assert (dag.nodes[0].dtype, dag.nodes[0].output_bytes) == ("uint8", 192)
    assert "unused" not in dag.by_name


def test_sizes_may_steer_the_forward() -> None:
    class BySize(nn.Module):
        def forward(self, x: Tensor, repeats: int = 2) -> Tensor:
            if x.shape[2] > 3 and x.size(1) == 3:
                x = x[:, :, ::2]
            total = torch.zeros(x.shape[0], x.shape[2])
            for row in range(x.shape[1]):
                total = total + x[:, row].sum(-1)
            for piece in x.unbind(1):
                total = total + len(piece) * piece.mean(-1)
            return total * repeats

    image = torch.randn(1, 3, 6, 5)
    runner = GraphRunner(trace(BySize(), image))
    (sink,) = runner.dag.outputs
    assert torch.equal(runner.run({"x": image}, [sink])[sink], BySize()(image))


class Deciding(nn.Module):
    """Looks at the data."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        if self.fc(x).sum() > 0:
            return x * 2
        return x + self.fc(x).max()


class Holding(nn.Module):
    """Holds the one that looks at the data."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.inner = Deciding()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.first(x))


def test_data_dependent_control_flow_names_the_line_and_the_way_out() -> None:
    with pytest.raises(TraceError) as caught:
        trace(Holding(), torch.randn(1, 4))
    lines, start = inspect.getsourcelines(Deciding.forward)
    number = start + next(i for i, line in enumerate(lines) if "if self.fc" in line)
    message = str(caught.value)
    assert f"test_trace.py:{number}: if self.fc(x).sum() > 0:" in message
    assert "submodule 'inner'" in message
    assert "leaf_modules" in message


@pytest.mark.parametrize("leaf", [Deciding, "inner"])
def test_a_leaf_module_is_the_way_out(leaf: type[nn.Module] | str) -> None:
    model, image = Holding(), torch.randn(1, 4)
    runner = GraphRunner(trace(model, image, leaf_modules=[leaf]))
    assert [node.name for node in runner.dag.nodes] == ["x", "first", "inner"]
    with torch.no_grad():
        for signed in (image, -image):
            assert torch.equal(runner.run({"x": signed}, ["inner"])["inner"], model(signed))


@dataclass
class Found:
    """What Hugging Face's networks return is of this kind."""

    logits: Tensor
    hidden: list[Tensor] | None = None


class Classifier(nn.Module):
    """Two layers; the networks below return what this one does, each in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Any:
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class TakesAnything(Classifier):
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        augmented = kwargs.get("augment", bool(args))
        return super().forward(x.flip(3) if augmented else x)


class TakesOnlyAnything(Classifier):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args)


class LikeAVisionTransformer(Classifier):
    def forward(  # type: ignore[override]
        self, pixel_values: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        return Found(super().forward(pixel_values), [] if kwargs.get("output_hidden") else None)


class MakesModules(Classifier):
    def forward(self, x: Tensor) -> Any:
        x = nn.ReLU()(self.conv(x))
        return self.head(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())(x))


class ReturnsDict(Classifier):
    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x), "labels": None, "count": 5}


@pytest.mark.parametrize(
    "kind", [TakesAnything, TakesOnlyAnything, LikeAVisionTransformer, MakesModules, ReturnsDict]
)
def test_forwards_as_other_projects_write_them(kind: type[Classifier]) -> None:
    torch.manual_seed(0)
    model = kind().eval()
    image = torch.randn(1, 3, 8, 8)
    runner = GraphRunner(trace(model, image))
    names = [node.name for node in runner.dag.nodes]
    first = "pixel_values" if kind is LikeAVisionTransformer else "x"
    assert names[:3] in ([first, "conv", "relu"], ["x", "conv", "relu"])
    assert runner.dag.exits == (("head",),)
    other = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        expected = Classifier.forward(model, other)
        assert torch.allclose(runner.run({names[0]: other}, ["head"])["head"], expected, atol=1e-6)
    assert type(model) is kind


class Plain(nn.Module):
    """A forward made of one function."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(x)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: {"aux": x, "out": x * 2}, r"dict with 2 .*return out\['aux'\], out\['out'\]"),
        (lambda x: {"mask": 3}, "returns a dict without a tensor"),
        (lambda x: Found(x * 2, [x]), r"Found with 2 .*return out.logits, out.hidden\[0\]"),
        (
            lambda x: (x * 2, ([x + 1],)),
            r"a list within a tuple as exit 2.*return out\[0\], out\[1\]\[0\]\[0\]",
        ),
        (lambda x: (x * 2, ()), "an empty tuple as exit 2"),
        (lambda x: (x * 2, (x + 1, 3)), "output 3 of the model is a int"),
        (lambda x: nn.Linear(4, 2)(x), "forward makes a Linear .* weight and bias .*__init__"),
        (lambda x: nn.BatchNorm1d(4)(x.repeat(2, 1)), "forward makes a BatchNorm1d .*__init__"),
        (lambda x: nn.Dropout(0.5)(x), "random numbers"),
        (lambda x: (x * 2, 3), "output 2 of the model is a int"),
        (lambda x: x, "isn't computed from its input"),
        (lambda x: (x * 2, torch.ones(2)), "output 2 .* isn't computed from its input"),
        (lambda x: (), "returns nothing"),
        (lambda x: x[x > 0], "shape depends on the data"),
        (lambda x: x.nonzero().float().sum(), "shape depends on the data"),
        (lambda x: (x.bfloat16() * 2).float(), "bfloat16, which NumPy doesn't have"),
        (lambda x: x * int(x.sum()), "can't be traced"),
        (lambda x: torch.from_numpy(x.numpy() * 2), "can't be traced"),
        (lambda x: x.t_() + 1, "changes the shape of a tensor in place"),
        (lambda x: nn.functional.dropout(x, 0.5), "random numbers"),
    ],
)
def test_what_is_no_dag_is_refused_in_words(function: object, message: str) -> None:
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(TraceError, match=f"(?s){message}"):
        trace(Plain(function), torch.randn(1, 4, generator=generator))


def test_wrong_requests() -> None:
    model = Holding()
    with pytest.raises(TraceError, match="batch of 1"):
        trace(model, torch.zeros(2, 4), leaf_modules=[Deciding])
    with pytest.raises(TraceError, match=r"leaf_modules names \['other'\].*'inner'"):
        trace(model, torch.zeros(1, 4), leaf_modules=["other"])

    with pytest.raises(TraceError, match=r"Linear itself fails on .* float32 \(1, 5\)"):
        trace(nn.Linear(4, 4), torch.zeros(1, 5))

    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(TraceError, match="exactly one tensor"):
        trace(Two(), torch.zeros(1, 4))


def test_state_kept_between_calls_is_noticed() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = [0]

        def forward(self, x: Tensor) -> Tensor:
            self.calls[0] += 1
            return x * self.calls[0]

    with pytest.raises(TraceError, match="recorded as a constant"):
        trace(Counting(), torch.ones(1, 4))
