"""Symbolic tracing: a module's forward as a torch.fx graph with module-path names."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.outputs import TraceError, give_exits, takes_anything
from dapdee_ros.graph.recording import Leaf, PathTracer

WAY_OUT = (
    "trace a submodule that ends before it, or keep the module that holds it whole with "
    "leaf_modules=[its class or its path]"
)

CHANGES_ITSELF = (
    "{place} changes the model's own {name!r} in evaluation mode, so a frame would depend on the "
    "frames before it; make it depend on self.training"
)
DRAWS_RANDOM_NUMBERS = (
    "{place} draws random numbers in evaluation mode, so no two runs would agree; make it depend "
    "on self.training"
)


def version_of(tensor: torch.Tensor) -> int:
    """Torch's count of the writes to a tensor, which all its views share."""
    # Tensors made in inference mode have none; only parameters and buffers can be such here.
    return 0 if tensor.is_inference() else tensor._version


def evaluation_copy(module: nn.Module) -> nn.Module:
    """The same module tree in evaluation mode, sharing every parameter.

    The module objects are new, so that the caller's model keeps its mode, and training it on
    doesn't switch a traced graph back to training. So are the buffers, which are small and which
    a forward may change while it is being looked at.
    """
    memo: dict[int, nn.Module] = {}

    def copied(original: nn.Module) -> nn.Module:
        if id(original) in memo:
            return memo[id(original)]
        if isinstance(original, torch.jit.ScriptModule):
            # Compiled modules can't be taken apart; they stay the caller's own object.
            if original.training:
                raise TraceError(
                    f"the model holds a compiled {type(original).__name__} in training mode: call "
                    "eval() on the model before tracing"
                )
            return original
        copy = object.__new__(type(original))
        memo[id(original)] = copy
        copy.__dict__.update(original.__dict__)
        copy.__dict__["_parameters"] = dict(original._parameters)
        copy.__dict__["_buffers"] = {
            name: None if buffer is None else buffer.clone()
            for name, buffer in original._buffers.items()
        }
        copy.__dict__["_modules"] = {
            name: None if child is None else copied(child)
            for name, child in original._modules.items()
        }
        copy.__dict__["training"] = False
        return copy

    return copied(module)


def _blamed_line(error: BaseException) -> str:
    """The innermost line of the traced code, skipping torch's and the tracer's own frames."""
    skipped = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(skipped):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "a line that could not be found"


def check_takes_one_tensor(model: nn.Module) -> dict[str, Any]:
    """Check that the forward can be called with one argument.

    Returns:
        Its further parameters with their defaults, which are traced as they stand; none where it
        takes ``*args`` or ``**kwargs``.

    Raises:
        TraceError: if it takes none or needs more.
    """
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in named[1:] if p.default is p.empty]
    anything = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    if not (named or anything) or required:
        raise TraceError(
            f"{type(model).__name__}.forward takes {[p.name for p in parameters]}: a model takes "
            "exactly one tensor; wrap it in a module whose forward does"
        )
    if takes_anything(model):
        # Called with one tensor, so that its own defaults hold.
        return {}
    return {p.name: p.default for p in named[1:]}


def symbolic_graph(
    model: nn.Module, example: torch.Tensor, leaf_modules: Iterable[Leaf] = ()
) -> tuple[fx.GraphModule, dict[fx.Node, str], list[Any]]:
    """Trace ``model`` in evaluation mode.

    Args:
        model: any module whose forward takes one tensor.
        example: an input; sizes follow from it, so code may depend on them.
        leaf_modules: classes or module paths to keep as one node each.

    Returns:
        The graph module (sharing the model's parameters), the name of each of its nodes, and the
        values of the forward's further parameters.

    Raises:
        TraceError: if the forward can't be traced; names the line.
    """
    leaves = list(leaf_modules)
    paths = dict(model.named_modules())
    unknown = [leaf for leaf in leaves if isinstance(leaf, str) and leaf not in paths]
    if unknown:
        raise TraceError(f"leaf_modules names {unknown}, the model has {sorted(paths)[1:]}")
    defaults = check_takes_one_tensor(model)
    copy = evaluation_copy(model)
    give_exits(copy)
    tracer = PathTracer(leaves)
    random_state = torch.get_rng_state()
    try:
        graph = tracer.record(copy, [example.clone(), *defaults.values()], defaults)
    except TraceError:
        raise
    except Exception as error:
        place = f" in submodule {tracer.place!r}" if tracer.place else ""
        raise TraceError(
            f"{type(model).__name__} can't be traced{place} at {_blamed_line(error)}\n"
            f"{type(error).__name__}: {error}\n"
            "A forward can be traced if what it does depends on sizes only, not on the values of "
            f"tensors, and if its submodules are attributes. Otherwise {WAY_OUT}"
        ) from error
    if not torch.equal(random_state, torch.get_rng_state()):
        raise TraceError(DRAWS_RANDOM_NUMBERS.format(place=type(model).__name__))
    graph_module = fx.GraphModule(tracer.root, graph, type(model).__name__)
    return graph_module, tracer.names, list(defaults.values())
