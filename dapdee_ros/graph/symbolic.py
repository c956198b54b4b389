"""Symbolic tracing: a module's forward as a torch.fx graph with module-path names."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from dapdee_ros.graph.dag import GraphError

Leaf = str | type[nn.Module]

WAY_OUT = (
    "trace the submodule up to there instead, or keep the module that holds this line whole with "
    "leaf_modules=[its class or its path]"
)


class TraceError(GraphError):
    """The model can't be seen as a DAG; the message names the place and the way out."""


class PathTracer(fx.Tracer):
    """Names every node by the path of the module it stems from, and takes asked-for leaves whole.

    The names are those of torchvision's ``get_graph_node_names`` (``layer1.0.conv1``,
    ``layer1.0.add``, ``layer1.0.relu_1`` for the second call), with one difference: a module
    called ``conv_1`` keeps its number.

    Attributes:
        names: name of each node.
        place: path of the module being traced; after a failure, of the one where it happened.
    """

    def __init__(self, leaf_modules: Iterable[Leaf]) -> None:
        super().__init__()
        leaves = list(leaf_modules)
        self._leaf_paths = {leaf for leaf in leaves if isinstance(leaf, str)}
        self._leaf_types = tuple(leaf for leaf in leaves if isinstance(leaf, type))
        self.names: dict[fx.Node, str] = {}
        self._taken: set[str] = set()
        self.place = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the module becomes one node."""
        return (
            module_qualified_name in self._leaf_paths
            or isinstance(m, self._leaf_types)
            or super().is_leaf_module(m, module_qualified_name)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace one call of a submodule, knowing where we are."""
        outside, self.place = self.place, self.path_of_module(m)
        result = super().call_module(m, forward, args, kwargs)
        self.place = outside  # not in a finally clause: a failure shall leave the place behind
        return result

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """Record one operation, and its name."""
        proxy = super().create_proxy(*args, **kwargs)
        node = proxy.node
        if node.op in ("call_module", "placeholder"):
            wanted = str(node.target)
        else:
            # torch.fx numbers its names over the whole graph; ours count within a module.
            own = re.sub(r"_[0-9]+$", "", node.name)
            wanted = f"{self.place}.{own}" if self.place else own
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        self.names[node] = name
        return proxy


def evaluation_copy(module: nn.Module) -> nn.Module:
    """The same module tree in evaluation mode, sharing every parameter and buffer.

    Only the module objects are new, so that the caller's model keeps its mode, and training it on
    doesn't switch a traced graph back to training.
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
        for name in ("_parameters", "_buffers"):
            copy.__dict__[name] = dict(original.__dict__[name])
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


def _one_input(model: nn.Module) -> dict[str, Any]:
    """Defaults of the forward's further parameters, which are traced as they stand."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in named[1:] if p.default is p.empty]
    if not parameters or required:
        raise TraceError(
            f"{type(model).__name__}.forward takes {[p.name for p in parameters]}: a model takes "
            "exactly one tensor; wrap it in a module whose forward does"
        )
    return {p.name: p.default for p in named[1:]}


def symbolic_graph(
    model: nn.Module, leaf_modules: Iterable[Leaf] = ()
) -> tuple[fx.GraphModule, dict[fx.Node, str], list[Any]]:
    """Trace ``model`` in evaluation mode.

    Args:
        model: any module whose forward takes one tensor.
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
    defaults = _one_input(model)
    copy = evaluation_copy(model)
    tracer = PathTracer(leaves)
    try:
        graph = tracer.trace(copy, concrete_args=defaults or None)
    except TraceError:
        raise
    except Exception as error:
        place = f" in submodule {tracer.place!r}" if tracer.place else ""
        raise TraceError(
            f"{type(model).__name__} can't be traced{place} at {_blamed_line(error)}\n"
            f"{type(error).__name__}: {error}\n"
            f"What the forward does there depends on the data or on a tensor's value; {WAY_OUT}"
        ) from error
    graph_module = fx.GraphModule(tracer.root, graph, type(model).__name__)
    return graph_module, tracer.names, list(defaults.values())
