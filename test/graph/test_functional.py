"""Networks full of side effects: the trace computes what they compute, and any split does too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from graph.graph_networks import over_the_wire, randomise
from torch import Tensor, nn

from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import TraceError, trace


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Nasty(nn.Module):
    """Everything that a careless split would break."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.rectify = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5, inplace=True)
        self.fc = nn.Linear(24, 5)
        self.early = nn.Linear(8, 5)
        self.token = nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.register_buffer("constant", torch.linspace(-1, 1, 8).view(1, 8, 1, 1))

    def forward(self, x: Tensor, scale: float = 2.0) -> tuple[Tensor, Tensor]:
        batch, _, height, width = x.size()
        stem = self.stem(x)
        # Changes stem, which is read again below: that reader has to see the change.
        rectified = F.relu_(stem)
        again = self.shared(rectified) + self.constant
        once_more = self.norm(self.shared(stem))
        self.rectify(once_more)
        once_more += self.token.expand(batch, -1, height, width)
        left, right = torch.chunk(again, 2, dim=1)
        left.mul_(scale)  # changes again through a view
        first = again[:, 0]
        first[:, :2] = 0.25  # and again, through a view of it, by an item
        pieces = [left, right, self.drop(once_more)]
        joined = torch.cat(tensors=pieces, dim=1)
        mask = torch.zeros(batch, 16, 1, 1)
        mask[:, ::2] = 1.0
        joined = joined * mask
        joined = torch.cat([joined, F.relu(input=again, inplace=True)], dim=1)
        pooled = joined.mean(dim=(2, 3)).view(batch, -1)
        exit_1 = self.early(once_more.mean((2, 3)))
        return exit_1, self.fc(input=pooled)


def unsplit_and_every_cut(model: nn.Module, image: Tensor, most: int = 20000) -> GraphRunner:
    with torch.no_grad():
        expected = model(image.clone())
    expected = [expected] if isinstance(expected, Tensor) else list(expected)
    traced = trace(model, image)
    for fold in (False, True):
        runner = GraphRunner(traced, fold_batch_norm=fold)
        dag = runner.dag
        untouched = image.clone()
        unsplit = runner.run({dag.input: image}, dag.outputs)
        assert torch.equal(image, untouched)
        for number, sink in enumerate(dag.outputs, start=1):
            if not fold:
                assert torch.equal(unsplit[sink], expected[number - 1])
            torch.testing.assert_close(unsplit[sink], expected[number - 1])
            listed = cuts(dag, number, limit=most)
            for cut in listed[:: max(1, len(listed) // 300)]:
                if not cut.boundary:
                    continue
                head = runner.run({dag.input: image}, cut.boundary)
                kept = {name: tensor.clone() for name, tensor in head.items()}
                near = runner.run(head, [sink])
                far = runner.run(over_the_wire(head), [sink])
                assert torch.equal(far[sink], unsplit[sink]), cut.boundary
                assert torch.equal(near[sink], unsplit[sink]), cut.boundary
                # A car may have to finish from the same tensors after the edge has failed.
                assert all(torch.equal(kept[name], head[name]) for name in head)
    return runner


def example(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_every_cut_of_the_nasty_module() -> None:
    torch.manual_seed(0)
    model = Nasty().eval()
    randomise(model)
    runner = unsplit_and_every_cut(model, example(1, 3, 9, 7))
    assert len(runner.dag.exits) == 2
    assert all(node.dtype == "float32" for node in runner.dag.nodes)


def test_tracing_in_inference_mode_makes_no_difference() -> None:
    torch.manual_seed(0)
    model = Nasty().eval()
    randomise(model)
    outside = trace(model, example(1, 3, 9, 7)).dag
    with torch.inference_mode():
        assert trace(model, example(1, 3, 9, 7)).dag == outside


class Function(nn.Module):
    """A forward from a plain function, between two convolutions."""

    def __init__(self, function: object) -> None:
        super().__init__()
        self.before = nn.Conv2d(3, 4, 3)
        self.after = nn.Conv2d(4, 4, 3)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))  # type: ignore[operator]


def late_reader_sees_relu(x: Tensor) -> Tensor:
    y = x * 2
    z = x.relu_()
    return y + z + x


def early_view_sees_a_later_change(x: Tensor) -> Tensor:
    view = x[:, 1:3]
    x.add_(1)
    return x + view.sum(1, keepdim=True)


def base_sees_a_change_of_its_view(x: Tensor) -> Tensor:
    x[:, 1:3].clamp_(min=0.1)
    return x


def a_chain_of_views(x: Tensor) -> Tensor:
    flat = x.flatten(2)
    row = flat[:, 2]
    row.neg_()
    flat[:, 0].zero_()
    return x + flat.mean(-1)[..., None, None]


def one_piece_changes_the_rest_stays(x: Tensor) -> Tensor:
    a, b = x.split([1, 3], dim=1)
    a.exp_()
    b += 1
    return torch.cat([b, a], 1) * x


def items_written(x: Tensor) -> Tensor:
    out = torch.zeros(1, 4, 5, 5)
    out[:, :2] = x[:, 2:, :5, :5]
    out[:, 2:] = 1
    return out


def augmented_assignments(x: Tensor) -> Tensor:
    old = x
    x += 1
    x *= old
    x -= 0.5
    x /= 2
    return x + old


def promotion(x: Tensor) -> Tensor:
    whole = x.long()
    whole.add_(1)
    x.add_(x.double())  # stays float32, unlike x + x.double()
    return whole * x


def written_through_out(x: Tensor) -> Tensor:
    kept = x * 1
    torch.mul(x, 3, out=kept)
    return kept


def alias_by_reshape(x: Tensor) -> Tensor:
    flat = x.reshape(1, -1)
    F.hardtanh_(flat, -0.3, 0.3)
    return x


def a_view_outlives_what_could_overwrite_its_base(x: Tensor) -> Tensor:
    view = x[:, 1:2]
    return F.relu(x) + view


def a_small_sum_grows(x: Tensor) -> Tensor:
    return (x.mean((2, 3), keepdim=True) + 1) + x


@pytest.mark.parametrize(
    "function",
    [
        a_view_outlives_what_could_overwrite_its_base,
        a_small_sum_grows,
        late_reader_sees_relu,
        early_view_sees_a_later_change,
        base_sees_a_change_of_its_view,
        a_chain_of_views,
        one_piece_changes_the_rest_stays,
        items_written,
        augmented_assignments,
        promotion,
        written_through_out,
        alias_by_reshape,
    ],
)
def test_side_effects_survive_every_cut(function: object) -> None:
    torch.manual_seed(0)
    unsplit_and_every_cut(Function(function).eval(), example(1, 3, 8, 8))


def test_a_module_that_changes_its_input_in_place_twice() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.relu(x * 2)
            z = x + 1
            self.relu(z[:, :2])
            self.relu(x)
            return y + z + x

    unsplit_and_every_cut(Shared(), example(1, 4, 3, 3))


def test_a_leaf_that_changes_its_input() -> None:
    class Leaf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x.add_(1)
            return x * 2

    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaf: nn.Module = Leaf()

        def forward(self, x: Tensor) -> Tensor:
            y = x - 1
            return self.leaf(y) + y

    image = example(1, 4)
    traced = trace(Around(), image, leaf_modules=[Leaf])
    assert sum(node.op == "leaf" for node in traced.dag.nodes) <= 1
    runner = GraphRunner(traced)
    (sink,) = runner.dag.outputs
    y = image - 1
    assert torch.equal(runner.run({"x": image}, [sink])[sink], (y + 1) * 2 + (y + 1))


def test_the_model_itself_is_left_alone() -> None:
    model = Nasty().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    GraphRunner(trace(model, example(1, 3, 9, 7)))
    assert all(module.training for module in model.modules())
    assert model.rectify.inplace
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_tuples_and_sizes_are_not_nodes() -> None:
    class Pieces(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            a, b, c = torch.split(x, 1, dim=1)
            return (a * b + c).view(x.size(0), x.shape[2] * x.size(3))

    dag = trace(Pieces(), example(1, 3, 4, 4)).dag
    assert [node.op for node in dag.nodes] == [
        "input", "getitem", "getitem", "getitem", "mul", "add", "view",
    ]  # fmt: skip
    assert [node.inputs for node in dag.nodes if node.op == "getitem"] == [("x",)] * 3


def test_numbers_taken_from_the_data_are_recomputed() -> None:
    class Item(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x.max().item()

    runner = unsplit_and_every_cut(Item(), example(1, 6))
    other = example(1, 6) * 3
    (sink,) = runner.dag.outputs
    assert torch.equal(runner.run({"x": other}, [sink])[sink], other * other.max())


def test_random_numbers_are_refused() -> None:
    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + torch.rand(1, 4)

    with pytest.raises(TraceError, match="random numbers in evaluation mode"):
        trace(Noise(), example(1, 4))


def test_changed_buffers_are_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: Tensor
            self.register_buffer("seen", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.seen.add_(1)
            return x + self.seen

    with pytest.raises(TraceError, match="own 'seen'"):
        trace(Counting(), example(1, 4))
