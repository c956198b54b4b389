"""Networks in ONNX made by hand: good ones of every shape, and files that cannot be split."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 16


class Maker:
    """Collects operators and seeded weights.

    >>> make = Maker()
    >>> make.conv("x", "y", 3, 4).outputs("y").model().graph.node[0].op_type
    'Conv'
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._outputs: list[str] = []
        self.shape: Sequence[int | str] = (1, 3, SIDE, SIDE)
        self.inputs: list[str] = ["x"]
        self.dtype = TensorProto.FLOAT
        self.opset = 17

    def weight(self, name: str, *shape: int, value: Any = None) -> str:
        array = self._random.normal(0, 0.3, shape).astype(np.float32) if value is None else value
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, reads: str, writes: str, name: str = "", **attributes: Any) -> Maker:
        node = helper.make_node(
            kind, reads.split(), writes.split(), name or f"{kind}_{len(self.nodes)}", **attributes
        )
        self.nodes.append(node)
        return self

    def conv(self, reads: str, writes: str, come: int, go: int, **attributes: Any) -> Maker:
        kernel = self.weight(f"{writes}.weight", go, come, 3, 3)
        bias = self.weight(f"{writes}.bias", go)
        attributes.setdefault("pads", (1, 1, 1, 1))
        return self.op("Conv", f"{reads} {kernel} {bias}", writes, **attributes)

    def outputs(self, *names: str) -> Maker:
        self._outputs = list(names)
        return self

    def model(self, **more: Any) -> onnx.ModelProto:
        described = [helper.make_tensor_value_info(n, self.dtype, self.shape) for n in self.inputs]
        results = [helper.make_empty_tensor_value_info(name) for name in self._outputs]
        for result in results:
            result.type.tensor_type.elem_type = more.get("result", TensorProto.FLOAT)
        graph = helper.make_graph(self.nodes, "made", described, results, self.weights)
        return helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", self.opset),
                *[helper.make_opsetid(domain, 1) for domain in more.get("domains", ())],
            ],
            ir_version=8,
        )

    def save(self, path: Path, **more: Any) -> Path:
        path.write_bytes(self.model(**more).SerializeToString())
        return path


def chain() -> Maker:
    """Two convolutions with a SiLU between."""
    make = Maker().conv("x", "a", 3, 8).op("Sigmoid", "a", "s").op("Mul", "a s", "b")
    return make.conv("b", "y", 8, 4).outputs("y")


def split() -> Maker:
    """Halves of the channels that go different ways and meet again."""
    make = Maker().conv("x", "a", 3, 8)
    sizes = make.weight("sizes", value=np.array([4, 4]))
    make.op("Split", f"a {sizes}", "left right", axis=1).conv("left", "l", 4, 4)
    return make.op("Concat", "l right", "c", axis=1).conv("c", "y", 8, 4).outputs("y")


def topk() -> Maker:
    """An operator with two results of different dtypes, both read."""
    make = Maker().conv("x", "a", 3, 4).op("GlobalAveragePool", "a", "g").op("Flatten", "g", "f")
    count = make.weight("count", value=np.array([2]))
    make.op("TopK", f"f {count}", "best places").op("Cast", "places", "p", to=TensorProto.FLOAT)
    return make.op("Add", "best p", "y").outputs("y")


def computed_shapes() -> Maker:
    """A reshape whose shape is computed from that of a tensor, as exporters write it."""
    make = Maker().conv("x", "a", 3, 4).op("Shape", "a", "shape")
    first = make.weight("first", value=np.array(0))
    make.op("Gather", f"shape {first}", "batch", axis=0)
    axes = make.weight("axes", value=np.array([0]))
    make.op("Unsqueeze", f"batch {axes}", "b")
    rest = make.weight("rest", value=np.array([-1]))
    make.op("Concat", f"b {rest}", "wanted", axis=0).op("Reshape", "a wanted", "flat")
    make.op("Identity", "flat", "same")
    return make.op("MatMul", f"same {make.weight('w', 4 * SIDE * SIDE, 5)}", "y").outputs("y")


def two_outputs() -> Maker:
    """A shallow and a deep output; names with characters that no node may have twice."""
    make = Maker().conv("x", "/stem/conv", 3, 4).op("Relu", "/stem/conv", "stem:0", "/stem/relu")
    make.conv("stem:0", "boxes", 4, 4).op("Relu", "stem:0", "again", "/stem/relu/")
    return make.conv("again", "d", 4, 8).conv("d", "scores", 8, 2).outputs("boxes", "scores")


def odd_names() -> Maker:
    """Tensors and operators with names that are used inside, and one without a name."""
    make = Maker().conv("x", "~1", 3, 4).op("Relu", "~1", "image", "normalise")
    make.op("MaxPool", "image", "~2", "#0", kernel_shape=(2, 2)).nodes[-1].name = ""
    return make.conv("~2", "normalise", 4, 4).outputs("normalise")


def quantised() -> Maker:
    """A convolution of bytes, as quantising tools write it (QDQ)."""
    make = Maker().conv("x", "a", 3, 4)
    scale = make.weight("scale", value=np.float32(0.05))
    zero = make.weight("zero", value=np.uint8(128))
    make.op("QuantizeLinear", f"a {scale} {zero}", "q")
    make.op("DequantizeLinear", f"q {scale} {zero}", "d")
    return make.conv("d", "y", 4, 4).outputs("y")


def attention() -> Maker:
    """Matrix products, a softmax and a layer norm over the pixels."""
    make = Maker().conv("x", "a", 3, 8)
    shape = make.weight("shape", value=np.array([1, 8, SIDE * SIDE]))
    make.op("Reshape", f"a {shape}", "r").op("Transpose", "r", "t", perm=(0, 2, 1))
    make.op("MatMul", "t r", "m").op("Softmax", "m", "p", axis=-1).op("MatMul", "p t", "v")
    gain, bias = make.weight("gain", 8), make.weight("shift", 8)
    return make.op("LayerNormalization", f"v {gain} {bias}", "y").outputs("y")


def last_channels() -> Maker:
    """Takes an image whose channels are last, as TensorFlow's networks do."""
    make = Maker().op("Transpose", "x", "t", perm=(0, 3, 1, 2)).conv("t", "y", 3, 4)
    make.shape = (1, SIDE, SIDE, 3)
    return make.outputs("y")


def bytes_in() -> Maker:
    """Takes bytes and normalises them itself."""
    make = Maker().op("Cast", "x", "f", to=TensorProto.FLOAT).conv("f", "y", 3, 4).outputs("y")
    make.dtype = TensorProto.UINT8
    return make


def half_precision() -> Maker:
    """Computes in float16 throughout, its input included."""
    make = chain()
    for place, tensor in enumerate(make.weights):
        half = numpy_helper.to_array(tensor).astype(np.float16)
        make.weights[place].CopyFrom(numpy_helper.from_array(half, tensor.name))
    make.dtype = TensorProto.FLOAT16
    return make.op("Cast", "y", "z", to=TensorProto.FLOAT).outputs("z")


def any_batch() -> Maker:
    """Leaves the size of the batch open."""
    make = computed_shapes()
    make.shape = ("batch", 3, SIDE, SIDE)
    return make


GOOD: tuple[Callable[[], Maker], ...] = (
    chain, split, topk, computed_shapes, two_outputs, odd_names, quantised, attention,
    last_channels, bytes_in, half_precision, any_batch,
)  # fmt: skip


def heads(dag: Any, count: int, seed: int = 1) -> list[tuple[str, ...]]:
    """Boundaries of seeded cuts of the last exit, as many different ones as are found."""
    rng = random.Random(seed)
    found: set[tuple[str, ...]] = set()
    for _ in range(20 * count):
        stop = rng.uniform(0.7, 0.995)
        head: set[str] = {dag.input}
        for node in dag.nodes[1:]:
            if set(node.inputs) <= head and rng.random() < stop:
                head.add(node.name)
        boundary = dag.boundary(head, len(dag.exits))
        if boundary:
            found.add(boundary)
    return rng.sample(sorted(found), min(count, len(found)))
