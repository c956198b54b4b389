"""The codecs of the wire, as the planner sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dapdee_ros.codecs import CodecError, codec_named, encoded_bytes
from dapdee_ros.codecs.bottleneck.file import is_point, timed_as
from dapdee_ros.codecs.camera_file import CAMERA
from dapdee_ros.exits.bottlenecks import ModelBottleneck
from dapdee_ros.exits.gates import Calibration
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import CodecCost, MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import CodecTime

AS_IS = "f32"


def wire_codecs(
    dag: ModelDag,
    names: Sequence[str],
    calibration: Calibration | None,
    *,
    car_s: float = 0.0,
    edge_s: float = 0.0,
    car_times: Mapping[str, CodecTime] | None = None,
    edge_times: Mapping[str, CodecTime] | None = None,
    camera: TensorCost | None = None,
    bottlenecks: Sequence[ModelBottleneck] = (),
    announced: bool = False,
) -> list[CodecCost]:
    """Costs of the named codecs for the tensors of a model.

    ``f32`` codes every boundary and needs no calibration. Any other codec codes what calibration
    has measured: boundaries of one tensor, each with its bytes, its time and what each exit loses.
    What was not measured is no candidate, and a codec of which nothing was measured is left out.

    Args:
        dag: the model.
        names: codec names.
        calibration: what was measured, or None.
        car_s: profiled seconds of the whole network on the car, from which the time to code
            follows; 0 leaves it out.
        edge_s: the same on the edge server, for decoding.
        car_times: what codecs take on the car, by name, where that was measured there: counts
            instead, and for ``f32`` too.
        edge_times: the same on the edge server.
        camera: what passing on the camera's own files costs (codec ``camera``, which loses
            nothing); None: no such files come, and the codec is left out.
        bottlenecks: the model's.
        announced: leave out the bottlenecks of which not both sides' profiles hold times: a side
            that has none of that id cannot code by it.

    Raises:
        CodecError: if a codec is unknown.
    """
    costs: list[CodecCost] = []
    for name in names:
        if name == CAMERA:
            if camera is not None:
                none_lost = dict.fromkeys(_everywhere(dag), 0.0)
                costs.append(MeasuredCodec(name, {dag.input: camera}, none_lost))
            continue
        if is_point(name):
            costs += _of_point(name, bottlenecks, car_s, edge_s, car_times, edge_times, announced)
            continue
        codec_named(name)
        if name == AS_IS:
            tensors = {
                node.name: TensorCost(
                    encoded_bytes(name, node.shape, node.dtype),
                    _encode_s(car_times, name, node, 0.0),
                    _decode_s(edge_times, name, node, 0.0),
                )
                for node in dag.nodes
            }
            costs.append(MeasuredCodec(name, tensors, default_loss=0.0))
            continue
        codecs = calibration.codecs if calibration else None
        if codecs is None or not codecs.tensors.get(name):
            continue
        measured = codecs.tensors[name]
        tensors = {
            tensor: TensorCost(
                coded.coded_bytes,
                _encode_s(car_times, name, dag.by_name[tensor], coded.encode_share * car_s),
                _decode_s(edge_times, name, dag.by_name[tensor], coded.decode_share * edge_s),
            )
            for tensor, coded in measured.items()
            if tensor in dag.by_name
        }
        losses: dict[tuple[int, tuple[str, ...]], float] = {
            (number, (tensor,)): codecs.loss(name, tensor, number) or 0.0
            for tensor in tensors
            for number in measured[tensor].changes
        }
        costs.append(MeasuredCodec(name, tensors, losses))
    return costs


def _of_point(
    name: str,
    bottlenecks: Sequence[ModelBottleneck],
    car_s: float,
    edge_s: float,
    car_times: Mapping[str, CodecTime] | None,
    edge_times: Mapping[str, CodecTime] | None,
    announced: bool,
) -> list[CodecCost]:
    """A bottleneck's operating point, if it was measured: it codes exactly its boundary."""
    found = next((of for of in bottlenecks if name in of.file.codecs), None)
    if found is None:
        known = [codec for of in bottlenecks for codec in of.file.codecs]
        raise CodecError(f"the model has no bottleneck's point {name[:40]!r}; it has {known}")
    coded = found.losses.tensors.get(name, {}).get(found.losses_name)
    if coded is None:
        return []
    timed = timed_as(name, found.file.id)
    on_car, on_edge = (times.get(timed) if times else None for times in (car_times, edge_times))
    if announced and (on_car is None or on_edge is None):
        return []
    boundary = found.file.boundary
    # A part for each tensor: the planner adds up what the tensors of a boundary cost.
    part = TensorCost(
        coded.coded_bytes / len(boundary),
        (on_car.encoding_s(0) if on_car else coded.encode_share * car_s) / len(boundary),
        (on_edge.decoding_s(0) if on_edge else coded.decode_share * edge_s) / len(boundary),
    )
    losses = {
        (number, boundary): found.losses.loss(name, found.losses_name, number) or 0.0
        for number in coded.changes
    }
    quantiles = found.quantiles.get(name, ())
    tensors = dict.fromkeys(boundary, part)
    return [MeasuredCodec(name, tensors, losses, byte_quantiles=quantiles)]


def _everywhere(dag: ModelDag) -> list[tuple[int, tuple[str, ...]]]:
    """The input as the boundary of every exit."""
    return [(number, (dag.input,)) for number in range(1, len(dag.exits) + 1)]


def _encode_s(
    times: Mapping[str, CodecTime] | None, codec: str, node: Node, otherwise: float
) -> float:
    measured = times.get(codec) if times else None
    return measured.encoding_s(node.output_bytes) if measured else otherwise


def _decode_s(
    times: Mapping[str, CodecTime] | None, codec: str, node: Node, otherwise: float
) -> float:
    measured = times.get(codec) if times else None
    return measured.decoding_s(node.output_bytes) if measured else otherwise
