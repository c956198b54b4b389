"""Write a model folder: the network in ONNX, its DAG and its card. No torch in here."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.exits.bottlenecks import forget_foreign
from dapdee_ros.exits.card import (
    CALIBRATION_FILE,
    FORMAT,
    GRAPH_FILE,
    MODEL_FILE,
    NETWORK_FILE,
    NOT_MEASURED,
    ModelCard,
    ModelFolderError,
    card_of,
    model_id_of,
    read_card,
    read_json,
)
from dapdee_ros.exits.exposure import PRIVACY_FILE
from dapdee_ros.files import whole_file

if TYPE_CHECKING:
    import onnx

    from dapdee_ros.engines.onnx_model import OnnxModel
    from dapdee_ros.exits.gates import Calibration
    from dapdee_ros.exits.image_input import InputSpec
    from dapdee_ros.graph.dag import ModelDag

FORMER_WEIGHTS_FILE = "weights.safetensors"
"""The file in which folders of format 1 held the weights."""


def write_model_folder(
    folder: Path | str,
    *,
    network: OnnxModel | onnx.ModelProto,
    dag: ModelDag,
    name: str,
    task: Mapping[str, Any],
    labels: Sequence[str],
    input_spec: InputSpec,
    exit_quality: Sequence[float] | None,
    quality_data: str = NOT_MEASURED,
    provenance: Mapping[str, Any],
    architecture: Mapping[str, Any] | None = None,
    calibration: Calibration | None = None,
) -> ModelCard:
    """Write a model folder and read its card back.

    A reader sees the folder as it was or as it will be, at worst, for an instant, files that do not
    belong together, which it notices by their digests. The calibration of a previous model in the
    folder is removed, and so are its bottlenecks and what attacks on it found.

    Args:
        folder: created if it does not exist.
        network: its input is the DAG's first node, the uint8 image ``(1, H, W, 3)``, and its
            outputs are those of the exits; every other node of the DAG is a value of it by that
            name. All weights are inside. They may be float16, if an operator makes them float32
            (``engines.onnx_weights.narrow``).
        dag: the network's DAG.
        name: the model's name.
        task: its ``name``, and options of the task; JSON values.
        labels: class names.
        input_spec: how an image becomes the network's input.
        exit_quality: for each exit, shallowest first, 0 to 1; None if nobody has measured it.
        quality_data: description of the data that it was measured on.
        provenance: JSON values.
        architecture: see ``exits.model_folder.architecture_of``; None if there is no torch module.
        calibration: of this model; it gets the model's id.

    Raises:
        ModelFolderError: if the parts do not fit each other, or the network is not valid ONNX.
        FileError: if a file cannot be written; what was in the folder is left as it was.
    """
    folder = Path(folder)
    content = _checked(network, dag, folder / NETWORK_FILE)
    digest = hashlib.sha256(content).hexdigest()
    model_id = model_id_of(task, labels, input_spec, architecture, digest)
    values: dict[str, Any] = {
        "format": FORMAT,
        "name": name,
        "model_id": model_id,
        "task": dict(task),
        "input": input_spec.to_dict(),
        "labels": list(labels),
        "quality": {
            "exits": None if exit_quality is None else list(exit_quality),
            "data": quality_data,
        },
        "network": {"sha256": digest, "bytes": len(content)},
        "provenance": dict(provenance),
    }
    if architecture is not None:
        values["architecture"] = dict(architecture)
    if calibration is not None:
        calibration = replace(calibration, model_id=model_id)
    card_of(folder, values, dag, calibration)
    # All drafts first, so that a full disk leaves the old model; they are renamed from right to
    # left, the card last.
    with contextlib.ExitStack() as drafts:
        card_draft = drafts.enter_context(whole_file(folder / MODEL_FILE))
        graph_draft = drafts.enter_context(whole_file(folder / GRAPH_FILE))
        network_draft = drafts.enter_context(whole_file(folder / NETWORK_FILE))
        network_draft.write_bytes(content)
        graph_draft.write_bytes(json_bytes(dag.to_dict()))
        card_draft.write_bytes(json_bytes(values, indent=1))
        if calibration is not None:
            draft = drafts.enter_context(whole_file(folder / CALIBRATION_FILE))
            draft.write_bytes(json_bytes(calibration.to_dict()))
        else:
            (folder / CALIBRATION_FILE).unlink(missing_ok=True)
    (folder / FORMER_WEIGHTS_FILE).unlink(missing_ok=True)
    forget_foreign(folder, model_id)
    with contextlib.suppress(ModelFolderError):
        if read_json(folder / PRIVACY_FILE).get("model_id") != model_id:
            (folder / PRIVACY_FILE).unlink()
    return read_card(folder)


def _checked(network: OnnxModel | onnx.ModelProto, dag: ModelDag, path: Path) -> bytes:
    """A network's bytes, if any tool can read them."""
    import onnx

    model = network if isinstance(network, onnx.ModelProto) else network.whole()
    values = {name for node in model.graph.node for name in node.output}
    missing = [node.name for node in dag.nodes[1:] if node.name not in values]
    if missing:
        raise ModelFolderError(f"{path}: the network does not compute {missing[:3]} of its DAG")
    given = [tensor.name for tensor in model.graph.input]
    wanted = [tensor.name for tensor in model.graph.output]
    if (given, wanted) != ([dag.input], [*dag.outputs]):
        raise ModelFolderError(
            f"{path}: the network makes {wanted} of {given}, its DAG {[*dag.outputs]} of "
            f"{[dag.input]}"
        )
    content = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(content)
    except onnx.checker.ValidationError as error:
        raise ModelFolderError(f"{path}: the network is not valid ONNX: {error}") from error
    return content


def json_bytes(values: Mapping[str, Any], indent: int | None = None) -> bytes:
    """JSON values as a file of a model folder holds them."""
    separators = None if indent else (",", ":")
    return (json.dumps(values, indent=indent, separators=separators) + "\n").encode()
