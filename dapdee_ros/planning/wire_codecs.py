"""The codecs of the wire, as the planner sees them."""

from __future__ import annotations

from collections.abc import Sequence

from dapdee_ros.codecs import codec_named, encoded_bytes
from dapdee_ros.exits.gates import Calibration
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.codec_cost import CodecCost, MeasuredCodec, TensorCost

AS_IS = "f32"


def wire_codecs(
    dag: ModelDag,
    names: Sequence[str],
    calibration: Calibration | None,
    *,
    car_s: float = 0.0,
    edge_s: float = 0.0,
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

    Raises:
        CodecError: if a codec is unknown.
    """
    costs: list[CodecCost] = []
    for name in names:
        codec_named(name)
        if name == AS_IS:
            tensors = {
                node.name: TensorCost(encoded_bytes(name, node.shape, node.dtype))
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
                coded.coded_bytes, coded.encode_share * car_s, coded.decode_share * edge_s
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
