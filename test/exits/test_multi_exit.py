from itertools import pairwise

import pytest
import torch
from torch import nn

from dapdee_ros.exits.builders import DEFAULT_TAPS, BuilderError, build_backbone
from dapdee_ros.exits.model_folder import runner_of
from dapdee_ros.exits.multi_exit import ExitBranch, ImageInput, MultiExit
from dapdee_ros.graph.dag import GraphError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def _model(builder: str, side: int, taps: object = None, classes: int = 7) -> MultiExit:
    torch.manual_seed(0)
    return MultiExit(
        build_backbone(builder, classes),
        taps if taps is not None else DEFAULT_TAPS[builder],  # type: ignore[arg-type]
        input_size=(side, side),
        mean=MEAN,
        std=STD,
    ).eval()


def test_normalisation_is_the_usual_one() -> None:
    image = torch.randint(0, 256, (2, 5, 6, 3), dtype=torch.uint8)
    expected = (image.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / (
        torch.tensor(STD).view(1, 3, 1, 1)
    )
    assert torch.allclose(ImageInput(MEAN, STD)(image), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("builder", "side", "taps", "exits"),
    [
        ("roadsigns", 64, None, 5),
        ("vgg16-cifar", 32, None, 4),
        ("alexnet-cifar", 32, None, 4),
        ("alexnet-cifar", 32, 4, 5),
        ("resnet18", 64, 3, 4),
        ("mobilenet_v2", 64, 2, 3),
    ],
)
def test_every_exit_has_its_sink(builder: str, side: int, taps: int | None, exits: int) -> None:
    model = _model(builder, side, taps)
    image = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8)
    runner = runner_of(model)
    dag = runner.dag
    assert (dag.nodes[0].name, dag.nodes[0].dtype) == ("image", "uint8")
    assert dag.nodes[1].name == "normalise"
    assert len(dag.exits) == exits
    # Each exit needs more of the backbone than the one before.
    parts = [
        {n for n in dag.ancestors([sink]) if n.startswith("backbone.")} for sink in dag.outputs
    ]
    assert all(a < b for a, b in pairwise(parts))
    with torch.inference_mode():
        expected = model(image)
        came = runner.run({"image": image}, dag.outputs)
    for sink, logits in zip(dag.outputs, expected, strict=True):
        assert logits.shape == (1, 7)
        assert torch.allclose(came[sink], logits, rtol=1e-3, atol=1e-4)


def test_gradients_reach_every_weight() -> None:
    model = _model("roadsigns", 64).train()
    logits = model(torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8))
    torch.stack([row.square().sum() for row in logits]).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


def test_dropout_and_batch_norm_follow_the_mode() -> None:
    model = _model("alexnet-cifar", 32)
    image = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    model.train()
    assert not torch.equal(model(image)[-1], model(image)[-1])
    model.eval()
    assert torch.equal(model(image)[-1], model(image)[-1])


def test_the_road_sign_network_gets_narrow() -> None:
    by_name = runner_of(_model("roadsigns", 64)).dag.by_name
    sizes = [by_name[f"backbone.{tap}"].output_bytes for tap in DEFAULT_TAPS["roadsigns"]]
    assert by_name["image"].output_bytes == 12288
    assert sizes == [16384, 8192, 4096, 2048]


def test_wrong_taps_are_named() -> None:
    with pytest.raises(GraphError, match=r"no node 'stage9' to put an exit on; .*stage1\.neck\.2"):
        _model("roadsigns", 64, ("stage9",))
    with pytest.raises(GraphError, match="from the input on"):
        _model("roadsigns", 64, ("stage2.neck.2", "stage1.neck.2"))
    with pytest.raises(GraphError, match="from the input on"):
        _model("roadsigns", 64, ())
    with pytest.raises(GraphError, match="already the deepest exit"):
        _model("roadsigns", 64, ("stage1.neck.2", "classifier"))


def test_an_exit_on_tokens_is_refused() -> None:
    with pytest.raises(GraphError, match=r"the tap has shape \(1, 197, 768\)"):
        ExitBranch((1, 197, 768), 10)
    assert isinstance(ExitBranch((1, 20), 10)[0], nn.Linear)


def test_unknown_networks_are_named() -> None:
    with pytest.raises(BuilderError, match="no network called 'lenet'"):
        build_backbone("lenet", 10)
    with pytest.raises(BuilderError, match="cannot be built with"):
        build_backbone("roadsigns", 10, depth=3)
