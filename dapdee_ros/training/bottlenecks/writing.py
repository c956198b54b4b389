"""Write a bottleneck as an ONNX file, and take the weights out of one to train them further."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from dapdee_ros.codecs.bottleneck.file import (
    FORMAT,
    KEY,
    LATENT_IN,
    LATENT_OUT,
    RESTORED,
    Bottleneck,
    BottleneckError,
    parsed,
)
from dapdee_ros.engines.onnx_export import OPSET
from dapdee_ros.engines.onnx_weights import narrow
from dapdee_ros.exits.bottlenecks import of_model
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.files import whole_file
from dapdee_ros.training.bottlenecks.calibration import Prior
from dapdee_ros.training.bottlenecks.coding import Decoder, Encoder
from dapdee_ros.training.bottlenecks.points import Point
from dapdee_ros.training.bottlenecks.trainee import Trainee

_TOLERANCE = 1e-3
"""Of what ONNX Runtime and torch compute from the same numbers, relative to the largest."""


class Trained(NamedTuple):
    """A point with the priors of its channels."""

    point: Point
    priors: Sequence[Prior]


class _Both(nn.Module):
    """Encoder and decoder as one module with two separate halves."""

    def __init__(self, encoder: Encoder, decoder: Decoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        *boundary, latent = tensors
        return self.encoder(boundary), *self.decoder(latent)


def settle(trainee: Trainee) -> None:
    """Make a trained bottleneck what its file will hold: folded, kernels in half precision."""
    trainee.eval()
    trainee.encoder.fold()
    trainee.decoder.fold()
    with torch.no_grad():
        for part in (trainee.encoder, trainee.decoder):
            for name, weight in part.named_parameters():
                if weight.ndim > 1:
                    weight.copy_(weight.half())
                if not torch.isfinite(weight).all():
                    raise BottleneckError(
                        f"{name} holds numbers that half precision does not: the training "
                        "diverged; lower --learning-rate and --restart"
                    )


def write_bottleneck(
    path: Path,
    trainee: Trainee,
    card: ModelCard,
    trained: Sequence[Trained],
    losses: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> Bottleneck:
    """Write a settled bottleneck, checked against what was trained, and as its readers do.

    Args:
        path: its name is the bottleneck's.
        trainee: after ``settle``.
        card: the model that it belongs to.
        trained: its points, the one of the fewest bytes first.
        losses: what calibration measured, JSON values.
        provenance: JSON values.

    Returns:
        What the file says.

    Raises:
        BottleneckError: if what ONNX Runtime computes from the file is something else.
        FileError: if it cannot be written.
    """
    boundary = trainee.design.boundary
    model = _exported(trainee, [card.dag.by_name[name].shape for name in boundary])
    about = {
        "format": FORMAT,
        "name": path.stem,
        "model_id": card.model_id,
        "boundary": list(boundary),
        "latent_shape": list(trainee.latent_shape),
        "points": [
            {"channels": one.point.channels, "step": one.point.step, "prior": list(one.priors)}
            for one in trained
        ],
        "losses": dict(losses),
        "provenance": dict(provenance),
    }
    onnx.helper.set_model_props(model, {KEY: json.dumps(about, separators=(",", ":"))})
    content = model.SerializeToString(deterministic=True)
    onnx.checker.check_model(content)
    _compare(content, trainee, [card.dag.by_name[name].shape for name in boundary])
    bottleneck = parsed(content, path)
    of_model(bottleneck, card.model_id, card.dag)
    with whole_file(path) as draft:
        draft.write_bytes(content)
    return bottleneck


def _exported(trainee: Trainee, shapes: Sequence[tuple[int, ...]]) -> onnx.ModelProto:
    boundary = trainee.design.boundary
    module = _Both(trainee.encoder, trainee.decoder).eval()
    example = (*(torch.zeros(shape) for shape in shapes), torch.zeros(trainee.latent_shape))
    with tempfile.TemporaryDirectory(prefix="dapdee-export-") as folder:
        path = Path(folder) / "bottleneck.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                example,
                path,
                input_names=[*boundary, LATENT_IN],
                output_names=[LATENT_OUT, *(RESTORED + name for name in boundary)],
                opset_version=OPSET,
                dynamo=False,
            )
        model = onnx.load_model(path)
    narrow(model, [t.name for t in model.graph.initializer if len(t.dims) > 1])
    model.graph.name = "bottleneck"
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    return model


def _compare(content: bytes, trainee: Trainee, shapes: Sequence[tuple[int, ...]]) -> None:
    """Run the file on random numbers and compare it with the module."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    numbers = np.random.default_rng(0)
    given = [numbers.random(shape, np.float32) for shape in (*shapes, trainee.latent_shape)]
    names = [tensor.name for tensor in session.get_inputs()]
    came = session.run(None, dict(zip(names, given, strict=True)))
    with torch.inference_mode():
        *boundary, latent = (torch.from_numpy(array) for array in given)
        expected = (trainee.encoder(boundary), *trainee.decoder(latent))
    for there, here in zip(came, expected, strict=True):
        apart = float(np.abs(there - here.numpy()).max())
        most = _TOLERANCE * float(here.abs().max()) + 1e-5
        if there.shape != tuple(here.shape) or not apart <= most:
            raise BottleneckError(
                f"the file computes something else than what was trained (up to {apart:.3g} "
                f"apart, expected at most {most:.3g}): report this with the versions of torch and "
                "onnxruntime"
            )


def start_from(file: Bottleneck, trainee: Trainee) -> None:
    """Give a trainee, measured on its frames, the weights of a file that was written before.

    Args:
        file: a bottleneck of the same boundary, channels and encoder, of any model.
        trainee: not settled; what its prior begins with has to be measured again.

    Raises:
        BottleneckError: if its network is another.
    """
    model = onnx.load_model(file.path)
    stored = {
        t.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(t), np.float32))
        for t in model.graph.initializer
    }
    module = _Both(trainee.encoder, trainee.decoder)
    own = dict(module.named_parameters())
    differing = [
        name
        for name, weight in own.items()
        if name not in stored or stored[name].shape != weight.shape
    ]
    if differing:
        raise BottleneckError(
            f"{file.path} cannot be started from: it is of boundary {list(file.boundary)} with a "
            f"latent of {list(file.latent_shape)}, here they are "
            f"{list(trainee.design.boundary)} and {list(trainee.latent_shape)}; {differing[0]} "
            "does not fit"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(stored[name])
    trainee.encoder.unfold()
    trainee.decoder.unfold()
