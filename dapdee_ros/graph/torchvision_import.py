"""The one place that imports torchvision, also beside a torch it wasn't compiled for.

On x86-64 PyPI's torchvision is compiled for a CUDA build of torch. Beside a CPU build its C++
operators don't load, and ``import torchvision`` stops with "operator torchvision::nms does not
exist". Models, transforms and datasets need none of them, so declaring the two missing operators is
enough. Everybody writes ``from dapdee_ros.graph.torchvision_import import torchvision``.

Its ``ops`` import torch's compiler for a single function, asked by an operator that nothing here
uses. Importing that takes longer than all the rest of a head's start, so it is given another.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

# A library's declarations last as long as its object.
_declared: list[torch.library.Library] = []


def _import_torchvision() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    # Declaring before the first try would clash with operators that do load.
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define(
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    )
    _declared.append(library)
    return importlib.import_module("torchvision")


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Keep ``torch._dynamo`` from being imported; whoever needs it later gets the real one."""
    name = "torch._dynamo"
    if name in sys.modules:
        yield
        return
    compiler, part = ModuleType(name), ModuleType(f"{name}.utils")
    part.__dict__["is_compile_supported"] = lambda _device: False
    placed = {name: compiler, f"{name}.utils": part}
    sys.modules.update(placed)
    try:
        yield
    finally:
        for place, module in placed.items():
            if sys.modules.get(place) is module:
                del sys.modules[place]


def _import() -> ModuleType:
    try:
        with _without_compiler():
            return _import_torchvision()
    except (AttributeError, ImportError):
        # A version that wants more of it.
        return _import_torchvision()


torchvision = _import()
