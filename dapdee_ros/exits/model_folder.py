"""Writes a trained model to a folder, and reads it back.

``model.json`` says how to build the network again, ``weights.safetensors`` holds its weights,
``graph.json`` its DAG (so that a planner needs no torch), ``calibration.json`` what was measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dapdee_ros.engines.torch_engine import TorchEngine
from dapdee_ros.exits.builders import BuilderError, build_backbone
from dapdee_ros.exits.card import (
    CALIBRATION_FILE,
    FORMAT,
    GRAPH_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    ModelCard,
    ModelFolderError,
    check_id,
    read_card,
    read_parts,
    structure_id,
)
from dapdee_ros.exits.multi_exit import ImageInput, MultiExit
from dapdee_ros.files import whole_file
from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import ModelFails, TracedModel, trace

_COUNTER = ".num_batches_tracked"
# What the names of the weights of exits before the deepest begin with, their place following.
_BRANCHES = "branches."


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


def _traced(model: MultiExit) -> TracedModel:
    example = torch.zeros(1, *model.input_size, 3, dtype=torch.uint8)
    return trace(model.eval(), example, leaf_modules=[ImageInput])


def runner_of(model: MultiExit) -> GraphRunner:
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
        if not name.endswith(_COUNTER)
    }


def load_weights(model: MultiExit, stored: Mapping[str, Tensor], where: str) -> None:
    """Put stored weights into a model, as float32.

    Raises:
        ModelFolderError: if names or shapes differ, or a number is not finite.
    """
    state = model.state_dict()
    expected = {name for name in state if not name.endswith(_COUNTER)}
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
    model: MultiExit,
    *,
    name: str,
    architecture: Mapping[str, Any],
    labels: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    exit_quality: Sequence[float],
    quality_data: str,
    provenance: Mapping[str, Any],
) -> ModelCard:
    """Write a model folder and read its card back.

    The weights are written in half precision and copied back into ``model``, so that memory and
    file agree. The calibration of a previous model in the folder is removed.

    Args:
        folder: created if it does not exist.
        model: on any device; its taps replace those of ``architecture``.
        name: the model's name.
        architecture: see ``architecture_of``.
        labels: class names.
        mean: the normalisation of ``model``.
        std: the normalisation of ``model``.
        exit_quality: measured with the weights in half precision.
        quality_data: description of the data.
        provenance: JSON values.

    Raises:
        ModelFolderError: if the parts do not fit each other.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = half_precision(model.state_dict())
    load_weights(model, stored, str(folder / WEIGHTS_FILE))
    weights = save(stored)
    digest = hashlib.sha256(weights).hexdigest()
    architecture = {**architecture, "taps": list(model.taps)}
    labels = tuple(labels)
    mean, std = tuple(map(float, mean)), tuple(map(float, std))
    values = {
        "format": FORMAT,
        "name": name,
        "model_id": structure_id(architecture, labels, model.input_size, mean, std, digest),
        "architecture": architecture,
        "input": {"size": list(model.input_size), "mean": list(mean), "std": list(std)},
        "labels": list(labels),
        "quality": {"exits": list(exit_quality), "data": quality_data},
        "weights": {"sha256": digest, "bytes": len(weights)},
        "provenance": dict(provenance),
    }
    dag = runner_of(model).dag
    # All drafts first, so that a full disk leaves the old model; they are renamed from right to
    # left, the card last.
    with (
        whole_file(folder / MODEL_FILE) as card_draft,
        whole_file(folder / GRAPH_FILE) as graph_draft,
        whole_file(folder / WEIGHTS_FILE) as weights_draft,
    ):
        weights_draft.write_bytes(weights)
        graph_draft.write_bytes(_json(dag.to_dict(), indent=None))
        card_draft.write_bytes(_json(values, indent=1))
        (folder / CALIBRATION_FILE).unlink(missing_ok=True)
    return read_card(folder)


def _json(values: Mapping[str, Any], indent: int | None) -> bytes:
    return (json.dumps(values, indent=indent) + "\n").encode()


def load_module(
    folder: Path | str, *, with_calibration: bool = True
) -> tuple[ModelCard, MultiExit]:
    """The card and the network as a torch module in evaluation mode: for whole batches.

    Args:
        folder: the model folder.
        with_calibration: False leaves ``calibration.json`` unread, whatever it holds.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
    """
    card = read_parts(folder, with_calibration=with_calibration)
    path = card.path / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFolderError(f"{path} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ModelFolderError(
            f"{path} ({len(content)} bytes) is not the file that {MODEL_FILE} was saved with: it "
            "is corrupt or of another model; copy the folder again"
        )
    try:
        stored = load(content)
    except SafetensorError as error:
        raise ModelFolderError(f"{path} is not a safetensors file: {error}") from error
    try:
        model = build_multi_exit(card.architecture, card.input_size, card.mean, card.std)
    except (BuilderError, GraphError) as error:
        raise ModelFolderError(f"{card.path / MODEL_FILE}: {error}") from error
    # Only now, so that a network that cannot be built is reported as such, not as a wrong id.
    check_id(card)
    load_weights(model, stored, str(path))
    return card, model.eval()


def load_model(folder: Path | str) -> LoadedModel:
    """A model ready to run, its weights once in memory as float32.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
    """
    card, traced = load_traced(folder)
    # There is no other reference to the weights, so each is freed as soon as it is folded.
    runner = GraphRunner(traced, use_up=True)
    check_graph(card, runner.dag)
    return LoadedModel(card, runner)


def load_traced(folder: Path | str) -> tuple[ModelCard, TracedModel]:
    """A model's card and its network, traced; the card's DAG is that with batch norms folded.

    Raises:
        ModelFolderError: naming the file and what is wrong with it.
    """
    card, model = load_module(folder)
    return card, _traced(model)


def check_graph(card: ModelCard, dag: ModelDag) -> None:
    """Hold a card's DAG against that of the network as it runs here.

    Raises:
        ModelFolderError: if they differ.
    """
    difference = _difference(card.dag, dag)
    if difference:
        raise ModelFolderError(
            f"{card.path / GRAPH_FILE} is not the graph of this network as it is traced here: "
            f"{difference}; plans made from it would not fit. Save the model again here"
        )


def start_from(
    folders: Sequence[Path | str], model: MultiExit, architecture: Mapping[str, Any]
) -> list[ModelCard]:
    """Put the weights of stored models into a network of the same layers, to train it further.

    Arguments of the builder, such as a dropout, may differ, as long as the layers are the same.
    The exits may sit elsewhere: one at a node that carries an exit in both, of the same branch,
    starts with that one's weights, any other with fresh ones.

    Several models have their weights averaged (M. Wortsman et al., "Model soups: averaging weights
    of multiple fine-tuned models improves accuracy without increasing inference time", ICML 2022).
    That only helps with models that were trained from one another or from a common one.

    Raises:
        ModelFolderError: if a folder cannot be loaded, or its network is another.
    """
    built = {
        name: tensor.clone()
        for name, tensor in model.state_dict().items()
        if name.startswith(_BRANCHES) and not name.endswith(_COUNTER)
    }
    cards = []
    given: dict[str, list[Tensor]] = {}
    for folder in folders:
        card, stored = load_module(folder, with_calibration=False)
        for key in ("builder", "classes"):
            if card.architecture[key] != architecture[key]:
                raise ModelFolderError(
                    f"{card.path} cannot be started from: its {key} is {card.architecture[key]}, "
                    f"here it is {architecture[key]}"
                )
        own = _weights_for(model, stored, card.architecture["branch"] == architecture["branch"])
        # One at a time, so that a message names the folder that does not fit.
        load_weights(model, {**built, **own}, str(card.path))
        for name, tensor in own.items():
            given.setdefault(name, []).append(tensor)
        cards.append(card)
    mean = {name: torch.stack(tensors).mean(0) for name, tensors in given.items()}
    load_weights(model, {**built, **mean}, " and ".join(str(card.path) for card in cards))
    return cards


def _weights_for(model: MultiExit, stored: MultiExit, same_branch: bool) -> dict[str, Tensor]:
    """What ``stored`` has for ``model``, by the names it has there."""
    own = {}
    for key, tensor in stored.state_dict().items():
        name = key
        if key.startswith(_BRANCHES):
            place, _, rest = key.removeprefix(_BRANCHES).partition(".")
            tap = stored.taps[int(place)]
            if not (same_branch and tap in model.taps):
                continue
            name = f"{_BRANCHES}{model.taps.index(tap)}.{rest}"
        if not name.endswith(_COUNTER):
            own[name] = tensor
    return own


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
