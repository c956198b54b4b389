"""Read an ONNX file of any origin as a network of static shapes without anything constant in it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from onnx import helper, inliner, numpy_helper, shape_inference, version_converter

from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.engines.onnx_operators import exit_outputs, keep_needed

_OLDEST_OPSET = 7
_CONVERTED_OPSET = 13
_DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Those that ONNX Runtime computes without further libraries and that networks use."""

_INVALID = (
    RuntimeError, ValueError, onnx.checker.ValidationError, shape_inference.InferenceError,
)  # fmt: skip
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_RANDOM = (
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli",
    "Multinomial",
)  # fmt: skip
_SIZED_BY_DATA = ("NonMaxSuppression", "NonZero", "Unique", "Compress")
_MULTIPLYING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_MOST_TENSOR_BYTES = 2**30
_MOST_NAMED = 3


@dataclass(frozen=True)
class StaticNetwork:
    """A network whose every tensor has a known shape.

    Attributes:
        model: its operators, in topological order, and its weights; nothing that could be computed
            without the image is left to compute.
        image: name of its input.
        size: height and width of the image.
        channels_last: whether the input is (1, H, W, 3) instead of (1, 3, H, W).
        exits: per exit, the tensors that it puts out.
        shapes: by tensor name, the shape.
        dtypes: by tensor name, the NumPy name of the dtype.
    """

    model: onnx.ModelProto
    image: str
    size: tuple[int, int]
    channels_last: bool
    exits: tuple[tuple[str, ...], ...]
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]


def read_static(
    path: Path,
    input_size: tuple[int, int] | None = None,
    exits: Sequence[Sequence[str]] = (),
) -> StaticNetwork:
    """Read a file, fix its input's shape, and compute in advance what does not need the image.

    That is what ONNX Runtime's basic optimisation does: shapes that operators compute, constants,
    operators that change nothing, batch norms. Its result has standard operators only.

    Args:
        path: the file; weights beside it are read too.
        input_size: height and width of an input that leaves them open.
        exits: per exit, names of the file's outputs, tensors or operators; what none of them needs
            is left out. By default one exit with all outputs.

    Raises:
        OnnxError: if it cannot be read or cannot be split; says why and what to do.
    """
    model = _read(path)
    model = _with_known_operators(model, path)
    described, size, channels_last = _image(model, path, input_size)
    _fix_shapes(model, described.name, size, channels_last)
    of_exits = exit_outputs(model.graph, exits, path)
    keep_needed(model.graph, dict.fromkeys(name for names in of_exits for name in names))
    _refuse_huge(model, path)
    model = _folded(model, described, path)
    _refuse_unsplittable(model, path)
    shapes, dtypes = _facts(model, path)
    _refuse_non_finite(model.graph, path)
    return StaticNetwork(model, described.name, size, channels_last, of_exits, shapes, dtypes)


# Reading -----------------------------------------------------------------------------------------


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except OSError as error:
        raise OnnxError(f"{path} cannot be read: {error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        raise OnnxError(f"{path} is torn or no ONNX file: {error}") from error
    if not model.graph.node or not model.graph.output:
        raise OnnxError(f"{path} is torn or no ONNX file: it has no operators or no outputs")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise OnnxError(
            f"{path} keeps its weights in a file beside it, which cannot be read: put it there, or "
            f"save the network with its weights inside ({error})"
        ) from error
    return model


def _with_known_operators(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The network with functions of its own written out, in an opset that is understood."""
    if model.functions:
        model = inliner.inline_local_functions(model)
    foreign = sorted(
        {f"{n.domain}.{n.op_type}" for n in _all_nodes(model.graph) if n.domain not in _DOMAINS}
    )
    if foreign:
        raise OnnxError(
            f"{path} uses operators that are not ONNX's own: {_some(foreign)}; export the network "
            "without them, or cut the file before them (onnx.utils.extract_model)"
        )
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= opset <= newest:
        raise OnnxError(
            f"{path} is of opset {opset}; the installed onnx {onnx.__version__} knows 1 to "
            f"{newest}: export with one of these, or install a newer onnx"
        )
    try:
        if opset < _OLDEST_OPSET:
            model = version_converter.convert_version(model, _CONVERTED_OPSET)
        for described in model.graph.output:
            # Some files do not state their outputs' shapes, which the check insists on.
            described.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(model)
    except _INVALID as error:
        raise OnnxError(f"{path} is not a valid ONNX network: {_first_line(error)}") from error
    return model


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _all_nodes(attribute.g)


# The image ---------------------------------------------------------------------------------------


def _image(
    model: onnx.ModelProto, path: Path, wanted: tuple[int, int] | None
) -> tuple[onnx.ValueInfoProto, tuple[int, int], bool]:
    """The input, its height and width, and whether its channels are last."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = [value.name for value in inputs]
        raise OnnxError(
            f"{path} has {len(inputs)} inputs {names}, expected one, the image: fix the others as "
            "constants before the export"
        )
    described = inputs[0]
    if described.name in {output.name for output in model.graph.output}:
        raise OnnxError(f"{path}: its input is an output as well, which computes nothing")
    dims = [d.dim_value or 0 for d in described.type.tensor_type.shape.dim]
    shown = [d.dim_value or d.dim_param or "?" for d in described.type.tensor_type.shape.dim]
    if len(dims) != 4 or 3 not in (dims[1], dims[3]):
        raise OnnxError(
            f"{path}: the input {described.name!r} has the shape {shown}, expected an image of "
            "three channels, (1, 3, height, width) or (1, height, width, 3)"
        )
    if dims[0] > 1:
        raise OnnxError(
            f"{path} takes {dims[0]} images at once; frames come one by one: export it with a "
            "batch of 1 or a dynamic batch"
        )
    channels_last = dims[1] != 3
    height, width = dims[1:3] if channels_last else dims[2:4]
    if wanted and (height or wanted[0], width or wanted[1]) != wanted:
        raise OnnxError(
            f"{path} takes images of {height}x{width}, asked for are {wanted[0]}x{wanted[1]}: "
            "leave the size out, or export the network with that size"
        )
    if not wanted and not (height and width):
        raise OnnxError(
            f"{path}: the input {described.name!r} leaves its size open ({shown}): give one with "
            "--input-size HEIGHTxWIDTH"
        )
    return described, wanted or (height, width), channels_last


def _fix_shapes(
    model: onnx.ModelProto, image: str, size: tuple[int, int], channels_last: bool
) -> None:
    """State the input's shape, and forget what was stated of all other tensors."""
    shape = (1, *size, 3) if channels_last else (1, 3, *size)
    for described in model.graph.input:
        if described.name == image:
            kind = described.type.tensor_type.elem_type
            described.CopyFrom(helper.make_tensor_value_info(image, kind, shape))
    del model.graph.value_info[:]
    for described in model.graph.output:
        described.type.tensor_type.ClearField("shape")


# Folding -----------------------------------------------------------------------------------------


def _refuse_huge(model: onnx.ModelProto, path: Path) -> None:
    """Refuse tensors that computing in advance would fill the memory with."""
    try:
        known = shape_inference.infer_shapes(model, data_prop=True).graph
    except _INVALID as error:
        raise OnnxError(f"{path} is not a valid ONNX network: {_first_line(error)}") from error
    for described in (*known.value_info, *known.output):
        dims = [d.dim_value for d in described.type.tensor_type.shape.dim]
        if math.prod(dims) > _MOST_TENSOR_BYTES // 4:
            raise OnnxError(
                f"{path}: the tensor {described.name!r} has the shape {dims}, more than "
                f"{_MOST_TENSOR_BYTES:,} bytes: give a smaller --input-size, or export it anew"
            )


def _folded(model: onnx.ModelProto, image: onnx.ValueInfoProto, path: Path) -> onnx.ModelProto:
    """The network as ONNX Runtime's basic optimisation leaves it; it has to run once."""
    shape = [d.dim_value for d in image.type.tensor_type.shape.dim]
    black = np.zeros(shape, helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="dapdee-import-") as folder:
        given, written = Path(folder) / "given.onnx", Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(written)
        try:
            onnx.save_model(model, given)
            session = onnxruntime.InferenceSession(
                str(given), options, providers=["CPUExecutionProvider"]
            )
            session.run(None, {image.name: black})
            # What the optimiser makes itself is written without its shape.
            return shape_inference.infer_shapes(onnx.load_model(written), data_prop=True)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            raise OnnxError(
                f"ONNX Runtime {onnxruntime.__version__} cannot run {path}: {_first_line(error)}"
            ) from error


def _refuse_unsplittable(model: onnx.ModelProto, path: Path) -> None:
    def of_types(types: Iterable[str]) -> list[str]:
        return [f"{n.op_type} {n.name!r}" for n in model.graph.node if n.op_type in types]

    if found := of_types(_CONTROL_FLOW):
        raise OnnxError(
            f"{path} decides while it runs what to compute: {_some(found)}; export the network "
            "without control flow (torch.jit.trace instead of script, fixed sizes)"
        )
    if found := of_types(_SIZED_BY_DATA):
        raise OnnxError(
            f"{path} makes tensors whose size depends on what is in the image: {_some(found)}; "
            "export a detector without non-maximum suppression, or name the tensors before it with "
            "--exit (boxes are decoded and suppressed here, see --decoder)"
        )
    if found := of_types(_RANDOM):
        raise OnnxError(
            f"{path} draws random numbers: {_some(found)}; car and edge would draw different ones: "
            "export the network for inference (model.eval())"
        )


def _facts(model: onnx.ModelProto, path: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shape and dtype of every tensor that depends on the image."""
    graph = model.graph
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    dynamic = []
    for described in (*graph.input, *graph.value_info, *graph.output):
        name, kind = described.name, described.type
        if not kind.HasField("tensor_type"):
            raise OnnxError(f"{path}: {name!r} is a {kind.WhichOneof('value')}, expected a tensor")
        if not kind.tensor_type.HasField("shape"):
            dynamic.append(f"{name!r}")
            continue
        dims = kind.tensor_type.shape.dim
        if not all(d.HasField("dim_value") for d in dims):
            dynamic.append(f"{name!r} {[d.dim_value or d.dim_param or '?' for d in dims]}")
            continue
        shapes[name] = tuple(d.dim_value for d in dims)
        dtypes[name] = _numpy_name(name, kind.tensor_type.elem_type, path)
    missing = [f"{out!r}" for n in graph.node for out in n.output if out and out not in shapes]
    if dynamic or missing:
        raise OnnxError(
            f"{path} has tensors of unknown shape: {_some(dynamic or missing)}; export the network "
            "with fixed sizes (no dynamic axes but the batch)"
        )
    return shapes, dtypes


def _numpy_name(tensor: str, kind: int, path: Path) -> str:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    if dtype.kind not in "biuf":
        raise OnnxError(
            f"{path}: {tensor!r} holds {onnx.TensorProto.DataType.Name(kind)}, which NumPy does "
            "not know: export the network in float32 or float16"
        )
    return dtype.name


def _refuse_non_finite(graph: onnx.GraphProto, path: Path) -> None:
    """Refuse NaN anywhere, and infinity in what is multiplied; a limit or mask may be infinite."""
    multiplied = {
        name for node in graph.node if node.op_type in _MULTIPLYING for name in node.input[1:]
    }
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind != "f":
            continue
        bad = np.isnan(array) if tensor.name not in multiplied else ~np.isfinite(array)
        if bad.any():
            raise OnnxError(
                f"{path}: the weight {tensor.name!r} holds {int(bad.sum())} numbers that are not "
                "finite: the training diverged, or the file is damaged"
            )


def _some(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__
