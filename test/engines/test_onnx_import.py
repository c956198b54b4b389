"""Networks of other people's ONNX files: imported whole, cut anywhere, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from engines.made_networks import (
    GOOD,
    SIDE,
    Maker,
    chain,
    half_precision,
    heads,
    quantised,
    split,
    two_outputs,
)
from onnx import TensorProto, helper, numpy_helper

from dapdee_ros.engines.onnx_import import Pixels, import_onnx
from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

PIXELS = Pixels("bgr", 1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def picture(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(4).integers(0, 256, (1, side, side, 3), np.uint8)


def expected(path: Path, image: np.ndarray, pixels: Pixels) -> list[np.ndarray]:
    """What the file itself computes of an image that NumPy has normalised."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    described = session.get_inputs()[0]
    values = image[..., ::-1] if pixels.colour == "bgr" else image
    if described.type != "tensor(uint8)":
        values = (values * pixels.scale - np.array(pixels.mean)) / np.array(pixels.std)
        values = values.astype(np.float16 if "16" in described.type else np.float32)
    if described.shape[1] == 3:
        values = values.transpose(0, 3, 1, 2)
    return session.run(None, {described.name: np.ascontiguousarray(values)})


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_every_cut_of_an_imported_network_gives_what_its_file_gives(
    make: Callable[[], Maker], tmp_path: Path
) -> None:
    path = make().save(tmp_path / "made.onnx")
    model = import_onnx(path, PIXELS)
    dag = model.dag
    assert (dag.input, dag.nodes[0].shape, dag.nodes[0].dtype) == (
        "image",
        (1, SIDE, SIDE, 3),
        "uint8",
    )
    engine, image = OnnxRuntimeEngine(model), picture()
    wanted = expected(path, image, PIXELS)
    apart = 1e-3 if make is half_precision else 1e-4
    for boundary in [(dag.input,), *heads(dag, 8)]:
        sent = engine.run({dag.input: image}, boundary)
        for name in boundary:
            node = dag.by_name[name]
            assert (sent[name].shape, sent[name].dtype.name) == (node.shape, node.dtype)
            assert sent[name].nbytes == node.output_bytes
        came = engine.run(sent, dag.exits[-1])
        for name, reference in zip(dag.exits[-1], wanted, strict=True):
            np.testing.assert_allclose(
                came[name], reference, rtol=0, atol=apart * np.abs(reference).max()
            )


def test_an_operator_and_its_activation_are_one_node_and_nothing_constant_is_one(
    tmp_path: Path,
) -> None:
    dag = import_onnx(chain().save(tmp_path / "made.onnx"), PIXELS).dag
    assert [(node.name, node.op, node.inputs) for node in dag.nodes] == [
        ("image", "input", ()),
        ("normalise", "normalise", ("image",)),
        ("Mul_2", "conv+silu", ("normalise",)),
        ("y", "conv", ("Mul_2",)),
    ]
    pixels = SIDE * SIDE
    assert [node.flops for node in dag.nodes] == [
        0, 6 * pixels, (2 * 27 + 2) * 8 * pixels, 2 * 72 * 4 * pixels,
    ]  # fmt: skip


def activations() -> Maker:
    """Activations that more than their operator read, that change the shape, that are outputs."""
    make = Maker().conv("x", "a", 3, 4).op("Relu", "a", "b").op("Add", "a b", "c")
    make.op("Add", f"c {make.weight('wide', 2, 4, 1, 1)}", "d").op("Neg", "d", "e")
    return make.op("Tanh", "e", "f").op("Mul", "f f", "y").outputs("e", "y")


def test_what_something_else_reads_stays_a_node(tmp_path: Path) -> None:
    dag = import_onnx(activations().save(tmp_path / "made.onnx"), PIXELS).dag
    assert [(node.op, node.inputs) for node in dag.nodes[2:]] == [
        ("conv", ("normalise",)),
        ("relu", ("Conv_0",)),
        ("add", ("Conv_0", "Relu_1")),
        ("add+neg", ("Add_2",)),
        ("tanh+mul", ("e",)),
    ]


def test_an_operator_with_two_results_is_a_node_for_each(tmp_path: Path) -> None:
    dag = import_onnx(split().save(tmp_path / "made.onnx"), PIXELS).dag
    halves = [node for node in dag.nodes if node.op == "split"]
    assert [node.inputs for node in halves] == [("Conv_0",)] * 2
    assert [node.shape for node in halves] == [(1, 4, SIDE, SIDE)] * 2
    assert len({node.name for node in halves}) == 2


def test_names_are_readable_and_each_there_once(tmp_path: Path) -> None:
    dag = import_onnx(two_outputs().save(tmp_path / "made.onnx"), PIXELS).dag
    assert [node.name for node in dag.nodes[2:]] == [
        "stem.relu", "boxes", "stem.relu_2", "Conv_4", "scores",
    ]  # fmt: skip
    assert dag.exits == (("boxes", "scores"),)


def test_outputs_can_be_exits_of_their_own(tmp_path: Path) -> None:
    path = two_outputs().save(tmp_path / "made.onnx")
    assert import_onnx(path, PIXELS, exits=[["boxes"], ["scores"]]).dag.exits == (
        ("boxes",),
        ("scores",),
    )
    # Any tensor or operator will do; what no exit needs is left out.
    dag = import_onnx(path, PIXELS, exits=[["/stem/relu"]]).dag
    assert [node.name for node in dag.nodes] == ["image", "normalise", "stem_0"]
    with pytest.raises(OnnxError, match="shallowest first"):
        import_onnx(path, PIXELS, exits=[["scores"], ["boxes"]])
    with pytest.raises(OnnxError, match=r"no 'classes' .* outputs are \['boxes', 'scores'\]"):
        import_onnx(path, PIXELS, exits=[["classes"]])


def test_an_imported_network_is_the_same_each_time_and_can_be_kept(tmp_path: Path) -> None:
    path = quantised().save(tmp_path / "made.onnx")
    kept = []
    for _ in range(2):
        model = import_onnx(path, PIXELS)
        kept.append((model.dag, model.whole().SerializeToString(deterministic=True)))
    assert kept[0] == kept[1]
    assert {o.domain for o in onnx.load_model_from_string(kept[0][1]).opset_import} == {""}


def test_the_size_that_a_file_leaves_open_has_to_be_given(tmp_path: Path) -> None:
    make = chain()
    make.shape = ("n", 3, "h", "w")
    path = make.save(tmp_path / "open.onnx")
    with pytest.raises(OnnxError, match="--input-size"):
        import_onnx(path, PIXELS)
    assert import_onnx(path, PIXELS, input_size=(24, 32)).dag.nodes[0].shape == (1, 24, 32, 3)
    fixed = chain().save(tmp_path / "fixed.onnx")
    with pytest.raises(OnnxError, match="takes images of 16x16, asked for are 24x32"):
        import_onnx(fixed, PIXELS, input_size=(24, 32))


def test_an_old_file_is_read(tmp_path: Path) -> None:
    make = Maker().conv("x", "a", 3, 4).op("Relu", "a", "y").outputs("y")
    make.opset = 6
    path = make.save(tmp_path / "old.onnx")
    assert [node.op for node in import_onnx(path, PIXELS).dag.nodes[2:]] == ["conv+relu"]


def test_weights_beside_the_file_are_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "made.onnx"
    onnx.save_model(
        chain().model(), path, save_as_external_data=True, location="made.data", size_threshold=0
    )
    assert len(import_onnx(path, PIXELS).dag.nodes) == 4
    (tmp_path / "made.data").unlink()
    with pytest.raises(OnnxError, match="weights in a file beside it"):
        import_onnx(path, PIXELS)


def test_what_cannot_be_split_may_follow_the_exits(tmp_path: Path) -> None:
    path = sized_by_data().save(tmp_path / "made.onnx")
    assert import_onnx(path, PIXELS, exits=[["a"]]).dag.exits == (("a",),)


# What cannot be split ----------------------------------------------------------------------------


def control_flow() -> Maker:
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["x"], [f"{kind}_out"])],
            kind,
            [],
            [helper.make_tensor_value_info(f"{kind}_out", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        )
        for kind in ("Relu", "Neg")
    ]
    make = Maker().op("ReduceMax", "x", "top", keepdims=0)
    make.op("Greater", f"top {make.weight('limit', value=np.float32(0.5))}", "bright")
    make.op("If", "bright", "z", "choice", then_branch=branches[0], else_branch=branches[1])
    return make.conv("z", "y", 3, 4).outputs("y")


def sized_by_data() -> Maker:
    make = Maker().conv("x", "a", 3, 4).op("NonZero", "a", "where")
    return make.op("Cast", "where", "y", to=TensorProto.FLOAT).outputs("y")


def foreign_operator() -> Maker:
    make = chain()
    make.nodes[-1].domain = "com.example"
    make.nodes[-1].op_type = "Magic"
    return make


def unknown_operator() -> Maker:
    make = chain()
    make.nodes[-1].op_type = "Magic"
    return make


def two_inputs() -> Maker:
    make = Maker().op("Add", "x x2", "a").conv("a", "y", 3, 4).outputs("y")
    make.inputs.append("x2")
    return make


def no_image() -> Maker:
    make = Maker().op("Relu", "x", "y").outputs("y")
    make.shape = (1, 64)
    return make


def four_channels() -> Maker:
    make = Maker().conv("x", "y", 4, 4).outputs("y")
    make.shape = (1, 4, SIDE, SIDE)
    return make


def whole_batch() -> Maker:
    make = chain()
    make.shape = (8, 3, SIDE, SIDE)
    return make


def constant_output() -> Maker:
    make = chain()
    make.op("Neg", make.weight("w", 4), "fixed")
    return make.outputs("y", "fixed")


def echo() -> Maker:
    return chain().outputs("y", "x")


def not_finite() -> Maker:
    make = chain()
    kernel = numpy_helper.to_array(make.weights[0]).copy()
    kernel[0, 0, 0, 0] = np.nan
    make.weights[0].CopyFrom(numpy_helper.from_array(kernel, make.weights[0].name))
    return make


def infinite() -> Maker:
    make = chain()
    kernel = numpy_helper.to_array(make.weights[0]).copy()
    kernel[0, 0, 0, 0] = np.inf
    make.weights[0].CopyFrom(numpy_helper.from_array(kernel, make.weights[0].name))
    return make


def circle() -> Maker:
    make = Maker().op("Add", "x b", "a").op("Relu", "a", "b").conv("b", "y", 3, 4)
    return make.outputs("y")


def same_name_twice() -> Maker:
    make = chain()
    make.nodes[1].output[0] = "a"
    return make


def missing_tensor() -> Maker:
    make = chain()
    make.nodes[2].input[1] = "nowhere"
    return make


def short_weight() -> Maker:
    make = chain()
    make.weights[0].raw_data = make.weights[0].raw_data[:-40]
    return make


def impossible_weight() -> Maker:
    make = chain()
    make.weights[0].dims[:] = [2**31, 2**31, 3, 3]
    return make


def huge_constant() -> Maker:
    make = Maker()
    shape = make.weight("shape", value=np.array([1, 2000, 2000, 2000]))
    make.op("ConstantOfShape", shape, "sea").op("ReduceMax", "sea", "top", keepdims=0)
    return make.op("Add", "x top", "z").conv("z", "y", 3, 4).outputs("y")


def random_numbers() -> Maker:
    make = Maker().op("RandomNormalLike", "x", "noise").op("Add", "x noise", "z")
    return make.conv("z", "y", 3, 4).outputs("y")


def wrong_shapes() -> Maker:
    return Maker().conv("x", "y", 7, 4).outputs("y")


def integers_in() -> Maker:
    make = Maker().op("Cast", "x", "f", to=TensorProto.FLOAT).conv("f", "y", 3, 4).outputs("y")
    make.dtype = TensorProto.INT64
    return make


def newest_opset() -> Maker:
    make = chain()
    make.opset = 999
    return make


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (control_flow, "decides while it runs .* If 'choice'"),
        (sized_by_data, "size depends on what is in the image: NonZero"),
        (foreign_operator, r"not ONNX's own: com\.example\.Magic"),
        (unknown_operator, "not a valid ONNX network: .*Magic"),
        (two_inputs, r"2 inputs \['x', 'x2'\], expected one"),
        (no_image, r"shape \[1, 64\], expected an image"),
        (four_channels, r"shape \[1, 4, 16, 16\], expected an image"),
        (whole_batch, "takes 8 images at once"),
        (constant_output, "output 'fixed' does not depend on the image"),
        (echo, "its input is an output"),
        (not_finite, r"'a\.weight' holds 1 numbers that are not finite"),
        (infinite, r"'a\.weight' holds 1 numbers that are not finite"),
        (circle, "not a valid ONNX network"),
        (same_name_twice, "not a valid ONNX network"),
        (missing_tensor, "not a valid ONNX network: .*nowhere"),
        (short_weight, "not a valid ONNX network"),
        (impossible_weight, "not a valid ONNX network"),
        (huge_constant, "'sea' has the shape"),
        (random_numbers, "draws random numbers: RandomNormalLike"),
        (wrong_shapes, "not a valid ONNX network|cannot run"),
        (integers_in, "its input is int64"),
        (newest_opset, "is of opset 999"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_split_is_named(make: Callable[[], Maker], why: str, tmp_path: Path) -> None:
    path = make().save(tmp_path / "made.onnx", domains=["com.example"])
    with pytest.raises(OnnxError, match=why) as caught:
        import_onnx(path, PIXELS)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 200, -1])
def test_a_torn_file_is_named(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "torn.onnx"
    path.write_bytes(chain().model().SerializeToString()[:kept])
    with pytest.raises(OnnxError, match=r"torn or no ONNX file|not a valid ONNX network"):
        import_onnx(path, PIXELS)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match="cannot be read: No such file"):
        import_onnx(tmp_path / "none.onnx", PIXELS)
