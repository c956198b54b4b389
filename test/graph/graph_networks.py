"""The networks that the graph tests run on, with random weights that make outputs matter."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from dapdee_ros.graph.cuts import TooManyCuts, cuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.torchvision_import import torchvision

# DAPDEE_ALL_CUTS=1 takes the networks' own input sizes and up to 200 cuts of each (minutes).
ALL_CUTS = os.environ.get("DAPDEE_ALL_CUTS") == "1"
SAMPLE = 200 if ALL_CUTS else 12

# Name: (smallest sensible input size, own input size).
NETWORKS = {
    "alexnet": (64, 224),
    "vgg16": (32, 224),
    "vgg16_bn": (32, 224),
    "resnet18": (64, 224),
    "resnet50": (64, 224),
    "mobilenet_v2": (64, 224),
    "googlenet": (64, 224),
    "inception_v3": (96, 299),
    "densenet121": (64, 224),
    "squeezenet1_1": (64, 224),
    "shufflenet_v2_x1_0": (64, 224),
    "efficientnet_b0": (64, 224),
    "regnet_y_400mf": (64, 224),
    "convnext_tiny": (64, 224),
    "vit_b_16": (64, 224),
}


def build(name: str) -> tuple[nn.Module, Tensor]:
    """A torchvision network in evaluation mode and an input for it, seeded."""
    size = NETWORKS[name][1 if ALL_CUTS else 0]
    builder = getattr(torchvision.models, name)
    arguments = {"image_size": size} if name == "vit_b_16" else {}
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = False
    # The networks' own initialisation takes seconds; RegNet computes its widths with tensors.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = builder(weights=None, **arguments)
    model.to_empty(device="cpu")
    randomise(model)
    generator = torch.Generator().manual_seed(1)
    return model.eval(), torch.randn(1, 3, size, size, generator=generator)


def randomise(model: nn.Module) -> None:
    """Weights and batch norm statistics that keep signals alive through any depth."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        for name, tensor in [*module.named_parameters(recurse=False)]:
            if tensor.dim() > 1 and "pos" not in name and "scale" not in name:
                bound = math.sqrt(6 / tensor[0].numel())
                nn.init.uniform_(tensor, -bound, bound, generator=generator)
            elif name == "weight" or "scale" in name:
                nn.init.uniform_(tensor, 0.5, 1.5, generator=generator)
            else:
                nn.init.uniform_(tensor, -0.1, 0.1, generator=generator)
        for name, buffer in module.named_buffers(recurse=False):
            if name == "running_var":
                nn.init.uniform_(buffer, 0.5, 1.5, generator=generator)
            elif name == "running_mean":
                nn.init.uniform_(buffer, -0.1, 0.1, generator=generator)


def over_the_wire(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous bytes and back, as the float32 codec does it, at an awkward address."""
    arrived = {}
    for name, tensor in tensors.items():
        array = tensor.contiguous().numpy()
        message = bytearray(b"\0" * 4 + array.tobytes())
        back = np.frombuffer(message, dtype=array.dtype, offset=4).reshape(array.shape)
        arrived[name] = torch.from_numpy(back)
    return arrived


def some_boundaries(dag: ModelDag, exit_number: int, sample: int = SAMPLE) -> list[tuple[str, ...]]:
    """The boundaries of every legal cut, or a seeded sample where there are more.

    Always with edge-only; device-only has none.
    """
    try:
        every = [cut.boundary for cut in cuts(dag, exit_number, limit=2000) if cut.boundary]
    except TooManyCuts:
        every = _random_boundaries(dag, exit_number, sample)
    if len(every) <= sample:
        return every
    return [every[0], *random.Random(0).sample(every[1:], sample - 1)]


def _random_boundaries(dag: ModelDag, exit_number: int, count: int) -> list[tuple[str, ...]]:
    """Boundaries of random down-sets: prefixes of random orders in which the nodes could run."""
    chance = random.Random(0)
    part = dag.exit_part(exit_number)
    nodes = [node for node in dag.nodes if node.name in part]
    found = {dag.boundary([dag.input], exit_number): None}
    while len(found) < count:
        head = {dag.input}
        size = chance.randrange(1, len(nodes))
        while len(head) < size:
            ready = [
                n.name for n in nodes if n.name not in head and all(i in head for i in n.inputs)
            ]
            # Following one branch for a while gives more uneven cuts than a fair draw.
            head.add(chance.choice(ready[: chance.choice((1, 2, len(ready)))]))
        found[dag.boundary(head, exit_number)] = None
    return list(found)
