"""Networks written in Python as ONNX files: torchvision's by name, or a factory. Needs torch."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import pickle
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dapdee_ros.engines.onnx_export import exported
from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.files import write_whole
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace

TORCHVISION = "torchvision:"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SEED = 0


class SourceError(ValueError):
    """A network that cannot be built or written as ONNX; the message says why and what to do."""


@dataclass(frozen=True)
class TorchSource:
    """A network as a torch module, with what is known of it.

    Attributes:
        module: in evaluation mode.
        size: height and width that it was made for; None if that is not known.
        labels: its classes' names; none if they are not known.
        normalised: whether it takes images normalised as torchvision's are.
        random: whether its weights are random.
    """

    module: nn.Module
    size: tuple[int, int] | None
    labels: tuple[str, ...]
    normalised: bool
    random: bool


def build(source: str, weights: Path | None = None) -> TorchSource:
    """Build a network.

    Args:
        source: ``torchvision:NAME`` or ``package.module:factory``, a module or what makes one
            without arguments. That code runs here, and never again.
        weights: a file with its state (safetensors, or what torch.save wrote; no pickled code is
            run); without one the weights are those that it is built with, from a fixed seed.

    Raises:
        SourceError: if there is none, or the weights do not fit.
    """
    torch.manual_seed(_SEED)
    if source.startswith(TORCHVISION):
        built = _of_torchvision(source.removeprefix(TORCHVISION))
    else:
        built = TorchSource(_of_factory(source), None, (), False, False)
    module = built.module.eval()
    if weights is None:
        return built
    try:
        module.load_state_dict(_state(weights))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise SourceError(f"{weights} does not fit {source}: {_one_line(error)}") from error
    return TorchSource(module, built.size, built.labels, built.normalised, False)


def _of_torchvision(name: str) -> TorchSource:
    try:
        builder = torchvision.models.get_model_builder(name)
        # Without this, some would fetch weights for their backbone.
        arguments = {"weights_backbone"} & set(inspect.signature(builder).parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = builder(weights=None, **dict.fromkeys(arguments))
        known = torchvision.models.get_model_weights(name)
    except ValueError as error:
        raise SourceError(
            f"torchvision has no network {name!r}: there are resnet18, mobilenet_v3_small, and "
            f"more ({error})"
        ) from error
    size, labels = None, ()
    for entry in known:
        # The same for all weights of a classifier; nothing is downloaded.
        labels = tuple(entry.meta.get("categories", ()))
        side = getattr(entry.transforms(), "crop_size", None)
        size = (side[0], side[0]) if side else None
        break
    return TorchSource(module, size, labels, True, True)


def _of_factory(source: str) -> nn.Module:
    name, _, attribute = source.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        made: Any = importlib.import_module(name)
        for part in attribute.split("."):
            made = getattr(made, part)
        if isinstance(made, Callable) and not isinstance(made, nn.Module):  # type: ignore[arg-type]
            made = made()
    except Exception as error:  # whatever the user's own code raises
        raise SourceError(
            f"{source} gives no network: {type(error).__name__}: {_one_line(error)}"
        ) from error
    if not isinstance(made, nn.Module):
        raise SourceError(f"{source} gives a {type(made).__name__}, expected a torch.nn.Module")
    return made


def _state(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise SourceError(
            f"{path} holds no weights that can be read safely: {_one_line(error)}; save "
            "them with torch.save(model.state_dict(), ...) or as safetensors"
        ) from error
    # Training scripts often put the state beside other things.
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(stored, dict) and isinstance(stored.get(key), dict):
            return stored[key]
    return stored


def write_onnx(module: nn.Module, size: tuple[int, int], path: Path) -> None:
    """Write a network that takes float32 ``(1, 3, H, W)`` as an ONNX file.

    It is traced first, because torch's exporter alone takes over what happens to one input where
    the network decides by its data, and loses some changes in place, without a word.

    Raises:
        SourceError: if it does not run, cannot be traced, or torch cannot export it.
    """
    try:
        # What fails is printed as a graph of hundreds of lines.
        with contextlib.redirect_stdout(io.StringIO()):
            model, _ = exported(trace(module, torch.zeros(1, 3, *size)))
    except (GraphError, OnnxError) as error:
        raise SourceError(
            f"this network cannot be written as ONNX for images of {size[0]}x{size[1]}: "
            f"{_one_line(error)}"
        ) from error
    for node in model.graph.node:
        node.name = ""  # the tensors have better names, those of the trace
    write_whole(path, model.SerializeToString())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
