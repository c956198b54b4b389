"""The codecs of the wire, as the planner sees them."""

from __future__ import annotations

from collections.abc import Sequence

from dapdee_ros.codec import encoded_bytes
from dapdee_ros.exits.gates import Calibration
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.partition.codec_cost import CodecCost, MeasuredCodec, TensorCost

LOSSLESS = ("f32",)


def wire_codecs(
    dag: ModelDag, names: Sequence[str], calibration: Calibration | None
) -> list[CodecCost]:
    """Costs of the named codecs for every tensor of a model.

    A codec that loses something is left out until calibration has measured how much.

    Args:
        dag: the model.
        names: codec names.
        calibration: what was measured of each codec's accuracy, or None.

    Raises:
        CodecError: if a codec is unknown or its sizes depend on the content.
    """
    costs: list[CodecCost] = []
    for name in names:
        tensors = {
            node.name: TensorCost(encoded_bytes(name, node.shape, node.dtype)) for node in dag.nodes
        }
        loss = 0.0
        if name not in LOSSLESS:
            if calibration is None or name not in calibration.codecs:
                continue
            measured = zip(calibration.exit_accuracy, calibration.codecs[name], strict=True)
            loss = max(0.0, *(plain - coded for plain, coded in measured))
        costs.append(MeasuredCodec(name, tensors, default_loss=loss))
    return costs
