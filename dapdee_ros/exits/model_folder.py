"""A trained model as a torch module, written to a model folder and read back from one.

``model.onnx`` holds the weights, under the names that they have in the module's state; the
``architecture`` in ``model.json`` says how to build the module again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.engines.onnx_export import exported
from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.engines.onnx_weights import UNNAMED, narrow
from dapdee_ros.engines.torch_engine import TorchEngine
from dapdee_ros.exits.builders import BuilderError, build_backbone
from dapdee_ros.exits.card import (
    CLASSIFICATION,
    GRAPH_FILE,
    MODEL_FILE,
    NETWORK_FILE,
    ModelCard,
    ModelFolderError,
    check_id,
    network_bytes,
    read_parts,
)
from dapdee_ros.exits.gates import Calibration
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.exits.model_folder_writer import write_model_folder
from dapdee_ros.exits.multi_exit import ImageInput, MultiExit
from dapdee_ros.exits.networks import EXIT_NETWORKS, Network, build_exit_network
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import ModelFails, TracedModel, trace

COUNTER = ".num_batches_tracked"
"""What the names of counters end with, which are part of the state and no weights."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that can be run.

    Attributes:
        card: what the planner knows of it; ``card.dag`` is ``runner.dag``.
        runner: runs any part of it; the input is uint8 ``(1, H, W, 3)``, called as the DAG's
            first node.
    """

    card: ModelCard
    runner: GraphRunner

    @property
    def engine(self) -> TorchEngine:
        """The runner as an engine."""
        return TorchEngine(self.runner)


def architecture_of(
    builder: str,
    classes: int,
    arguments: Mapping[str, Any],
    taps: Sequence[str],
    branch_width: int,
    branch_grid: int,
) -> dict[str, Any]:
    """The description from which ``build_multi_exit`` rebuilds the network."""
    return {
        "builder": builder,
        "classes": classes,
        "arguments": dict(arguments),
        "taps": list(taps),
        "branch": {"width": branch_width, "grid": branch_grid},
    }


def build_multi_exit(
    architecture: Mapping[str, Any],
    input_size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> MultiExit:
    """A network with fresh weights from its description.

    ``architecture["taps"]`` may also be a number: how many exits to place.

    Raises:
        BuilderError: if the builder is unknown or refuses its arguments.
        GraphError: if a tap is unknown or the network cannot be traced.
    """
    try:
        taps, branch = architecture["taps"], architecture["branch"]
        backbone = build_backbone(
            architecture["builder"], int(architecture["classes"]), **architecture["arguments"]
        )
        size = f"{input_size[0]}x{input_size[1]}"
        return MultiExit(
            backbone,
            taps if isinstance(taps, int) else tuple(taps),
            input_size=input_size,
            mean=mean,
            std=std,
            branch_width=int(branch["width"]),
            branch_grid=int(branch["grid"]),
        )
    except ModelFails as error:
        own = getattr(backbone, "image_size", None)
        cure = (
            f"it is built for {own}x{own}: give --size {own}x{own}, or build it for square frames "
            f"of another size with --argument image_size={max(input_size)}"
            if own is not None
            else "choose larger frames with --size; torchvision's networks are made for 224x224"
        )
        raise BuilderError(
            f"{architecture['builder']} does not take frames of {size}: {cure} ({error})"
        ) from error
    except (KeyError, TypeError) as error:
        raise BuilderError(
            f"the architecture lacks an entry or holds a wrong one: {type(error).__name__}: {error}"
        ) from error


def build_network(
    architecture: Mapping[str, Any],
    input_size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
) -> Network:
    """A network with fresh weights from its description, of whatever kind that is.

    Raises:
        BuilderError: as ``build_multi_exit`` and ``build_exit_network`` do.
        GraphError: likewise.
    """
    has_exits = architecture.get("builder") in EXIT_NETWORKS
    build = build_exit_network if has_exits else build_multi_exit
    return build(architecture, input_size, mean, std)


def _traced(model: Network) -> TracedModel:
    example = torch.zeros(1, *model.input_size, 3, dtype=torch.uint8)
    return trace(model.eval(), example, leaf_modules=[ImageInput])


def runner_of(model: Network) -> GraphRunner:
    """A runner of the model as it stands, batch norms folded."""
    return GraphRunner(_traced(model), use_up=True)


def half_precision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights as they are stored: matrices and kernels in float16, all else as it is.

    Vectors (biases, batch norms' statistics) stay in float32: they are small, and a variance may
    leave float16's range.
    """
    return {
        name: (t.half() if t.is_floating_point() and t.ndim > 1 else t).cpu().contiguous()
        for name, t in state.items()
        if not name.endswith(COUNTER)
    }


def load_weights(model: nn.Module, stored: Mapping[str, Tensor], where: str) -> None:
    """Put stored weights into a model, as float32.

    Raises:
        ModelFolderError: if names or shapes differ, or a number is not finite.
    """
    state = model.state_dict()
    expected = {name for name in state if not name.endswith(COUNTER)}
    missing, foreign = sorted(expected - set(stored)), sorted(set(stored) - expected)
    if missing or foreign:
        raise ModelFolderError(
            f"{where} does not fit the architecture in {MODEL_FILE}: {len(missing)} tensors are "
            f"missing {missing[:3]}, {len(foreign)} are not part of it {foreign[:3]}"
        )
    for name, tensor in stored.items():
        if tensor.shape != state[name].shape:
            raise ModelFolderError(
                f"{where}: {name} has shape {tuple(tensor.shape)}, the architecture in "
                f"{MODEL_FILE} needs {tuple(state[name].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelFolderError(f"{where}: {name} holds numbers that are not finite")
        state[name] = tensor.to(state[name].dtype)
    model.load_state_dict(state)


def save_model(
    folder: Path | str,
    model: Network,
    *,
    name: str,
    architecture: Mapping[str, Any],
    labels: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    exit_quality: Sequence[float],
    quality_data: str,
    provenance: Mapping[str, Any],
    calibration: Calibration | None = None,
    task: Mapping[str, Any] | None = None,
) -> ModelCard:
    """Write a model folder and read its card back.

    The weights are written in half precision and copied back into ``model``, so that memory and
    file agree. The calibration of a previous model in the folder is removed.

    Args:
        folder: created if it does not exist.
        model: on any device; its taps, if it has any, replace those of ``architecture``.
        name: the model's name.
        architecture: see ``architecture_of``.
        labels: class names.
        mean: the normalisation of ``model``.
        std: the normalisation of ``model``.
        exit_quality: measured with the weights in half precision.
        quality_data: description of the data.
        provenance: JSON values.
        calibration: of this model; it gets the model's id.
        task: its name and options; None is classification.

    Raises:
        ModelFolderError: if the parts do not fit each other, or the network cannot be written as
            ONNX.
        FileError: if a file cannot be written.
    """
    folder = Path(folder)
    stored = half_precision(model.state_dict())
    load_weights(model, stored, str(folder / NETWORK_FILE))
    try:
        network, dag = exported(_traced(model))
    except OnnxError as error:
        raise ModelFolderError(f"{folder / NETWORK_FILE}: {error}") from error
    _complete(network, stored)
    narrow(network, [key for key, tensor in stored.items() if tensor.dtype == torch.float16])
    return write_model_folder(
        folder,
        network=network,
        dag=dag,
        name=name,
        task=task or {"name": CLASSIFICATION},
        labels=tuple(labels),
        input_spec=InputSpec.of(model.input_size, mean, std),
        exit_quality=exit_quality,
        quality_data=quality_data,
        provenance=provenance,
        architecture=(
            {**architecture, "taps": list(model.taps)}
            if isinstance(model, MultiExit)
            else architecture
        ),
        calibration=calibration,
    )


def _complete(network: onnx.ModelProto, state: Mapping[str, Tensor]) -> None:
    """Add to a network what the module's state holds and nothing in the network reads."""
    there = {tensor.name for tensor in network.graph.initializer}
    for name, tensor in state.items():
        if name not in there:
            weight = onnx.numpy_helper.from_array(tensor.numpy(), name)
            network.graph.initializer.append(weight)


def load_module(folder: Path | str, *, with_calibration: bool = True) -> tuple[ModelCard, Network]:
    """The card and the network as a torch module in evaluation mode: for whole batches.

    Args:
        folder: the model folder.
        with_calibration: False leaves ``calibration.json`` unread, whatever it holds.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
        EngineError: if the model is not one that torch can build.
    """
    card = read_parts(folder, with_calibration=with_calibration)
    architecture = architecture_in(card)
    path = card.path / NETWORK_FILE
    try:
        network = onnx.load_model_from_string(network_bytes(card))
    except DecodeError as error:
        raise ModelFolderError(f"{path} is no ONNX file: {error}") from error
    try:
        spec = card.input_spec
        model = build_network(architecture, spec.size, spec.mean, spec.std)
    except (BuilderError, GraphError) as error:
        raise ModelFolderError(f"{card.path / MODEL_FILE}: {error}") from error
    # Only now, so that a network that cannot be built is reported as such, not as a wrong id.
    check_id(card)
    load_weights(model, _state_in(network), str(path))
    return card, model.eval()


def architecture_in(card: ModelCard) -> Mapping[str, Any]:
    """What a card says of the torch module.

    Raises:
        EngineError: if torch cannot build one.
    """
    spec = card.input_spec
    if card.architecture is None:
        raise EngineError(
            f"{card.path} says of no architecture that torch could build, it holds only "
            f"{NETWORK_FILE}: use engine onnxruntime"
        )
    if replace(spec, resize="stretch", pad_value=0) != InputSpec(spec.size, spec.mean, spec.std):
        raise EngineError(
            f"{card.path / MODEL_FILE}: networks built by torch take colours as rgb and scale "
            f"bytes by 1/255, here they are {spec.colour} and {spec.scale:g}: use engine "
            "onnxruntime"
        )
    return card.architecture


def _state_in(network: onnx.ModelProto) -> dict[str, Tensor]:
    """The weights of a network that have a name; the others are constants of its operators."""
    return {
        tensor.name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
        for tensor in network.graph.initializer
        if not tensor.name.startswith(UNNAMED)
    }


def load_model(folder: Path | str, *, with_calibration: bool = True) -> LoadedModel:
    """A model ready to run, its weights once in memory as float32.

    Args:
        folder: the model folder.
        with_calibration: False leaves ``calibration.json`` unread, whatever it holds.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
    """
    card, traced = load_traced(folder, with_calibration=with_calibration)
    # There is no other reference to the weights, so each is freed as soon as it is folded.
    runner = GraphRunner(traced, use_up=True)
    check_graph(card.path, card.dag, runner.dag)
    return LoadedModel(card, runner)


def load_traced(
    folder: Path | str, *, with_calibration: bool = True
) -> tuple[ModelCard, TracedModel]:
    """A model's card and its network, traced; the card's DAG is that with batch norms folded.

    Args:
        folder: the model folder.
        with_calibration: False leaves ``calibration.json`` unread, whatever it holds.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
    """
    card, model = load_module(folder, with_calibration=with_calibration)
    return card, _traced(model)


def check_graph(path: Path, written: ModelDag, dag: ModelDag) -> None:
    """Hold the DAG that a folder holds against that of the network as it runs here.

    Raises:
        ModelFolderError: if they differ.
    """
    difference = _difference(written, dag)
    if difference:
        raise ModelFolderError(
            f"{path / GRAPH_FILE} is not the graph of this network as it is traced here: "
            f"{difference}; plans made from it would not fit. Save the model again here"
        )


def _difference(written: ModelDag, traced: ModelDag) -> str:
    """The difference between two DAGs, as text; empty if nothing that a plan depends on differs."""
    if written.exits != traced.exits:
        return f"exits {written.exits} there, {traced.exits} here"
    if len(written.nodes) != len(traced.nodes):
        return f"{len(written.nodes)} nodes there, {len(traced.nodes)} here"
    for there, here in zip(written.nodes, traced.nodes, strict=True):
        a = (there.name, there.inputs, there.shape, there.dtype)
        b = (here.name, here.inputs, here.shape, here.dtype)
        if a != b:
            return f"node {a} there, {b} here"
    return ""
