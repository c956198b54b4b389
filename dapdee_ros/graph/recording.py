"""Record a module's forward as a torch.fx graph while running it on an example.

Plain torch.fx records symbols that have no values: ``x.shape[0]`` is a symbol, and ``range`` or
``if`` on it fails. Here every symbol also holds the value that it has for the example. Sizes are
plain numbers, because a network that is split has one input size; tensors' elements stay symbols,
because they are data.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.overrides import TorchFunctionMode

from dapdee_ros.graph.outputs import TraceError

Leaf = str | type[nn.Module]

# ``x += 1`` bears the name that plain torch.fx gives it.
AUGMENTED = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}
_SIZE_METHODS = frozenset(
    (
        "size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset",
        "element_size", "is_contiguous", "is_floating_point", "is_complex", "get_device",
    )
)  # fmt: skip
_SIZE_ATTRIBUTES = frozenset(
    ("shape", "ndim", "dtype", "device", "layout", "is_cuda", "requires_grad", "is_sparse")
)
_SIZE_FUNCTIONS = frozenset((torch.numel, torch.is_floating_point, torch.is_complex))
_FACTORIES = frozenset(
    (
        torch.zeros, torch.ones, torch.empty, torch.full, torch.arange, torch.linspace, torch.eye,
        torch.tensor, torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal,
    )
)  # fmt: skip


class ExampleProxy(fx.Proxy):
    """A symbol with the value that it has for the example.

    It also records writes as a tensor would do them: plain torch.fx refuses ``x[0] = 1``, and
    records ``x += 1`` as ``x = x + 1``, which differs if there is another reference to ``x``.

    Attributes:
        value: a tensor, a tuple of tensors, or a number computed from data.
    """

    value: Any

    def __getattr__(self, k: str) -> Any:
        if k == "value":
            raise AttributeError(k)
        if k in _SIZE_ATTRIBUTES and isinstance(self.value, torch.Tensor):
            return getattr(self.value, k)
        return ExampleAttribute(self, k)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Any]:
        if not isinstance(self.value, torch.Tensor | tuple | list):
            return super().__iter__()
        return iter([self._record(operator.getitem, i) for i in range(len(self.value))])

    def _record(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (self, *args), {})

    def __setitem__(self, index: Any, value: Any) -> None:
        self._record(operator.setitem, index, value)

    def __iadd__(self, other: Any) -> Any:
        return self._record(operator.iadd, other)

    def __isub__(self, other: Any) -> Any:
        return self._record(operator.isub, other)

    def __imul__(self, other: Any) -> Any:
        return self._record(operator.imul, other)

    def __itruediv__(self, other: Any) -> Any:
        return self._record(operator.itruediv, other)


class ExampleAttribute(ExampleProxy):
    """An attribute or method of a symbol; recorded once it is used."""

    def __init__(self, root: ExampleProxy, attribute: str) -> None:
        self.root = root
        self.attribute = attribute
        self.tracer = root.tracer
        self._recorded: Any = None

    def _itself(self) -> Any:
        if self._recorded is None:
            arguments = (self.root, self.attribute)
            self._recorded = self.tracer.create_proxy("call_function", getattr, arguments, {})
        return self._recorded

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        """The node that yields the attribute."""
        return self._itself().node

    @property
    def value(self) -> Any:
        """The attribute's value."""
        return self._itself().value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record a method call."""
        return self.tracer.create_proxy("call_method", self.attribute, (self.root, *args), kwargs)


def value_of(argument: Any) -> Any:
    """``argument`` with every symbol in it replaced by its value."""
    if isinstance(argument, ExampleProxy):
        return argument.value
    if isinstance(argument, list):
        return [value_of(item) for item in argument]
    if isinstance(argument, tuple):
        items = [value_of(item) for item in argument]
        if isinstance(argument, torch.Size):
            return argument
        return type(argument)(*items) if hasattr(argument, "_fields") else tuple(items)
    if isinstance(argument, dict):
        return {key: value_of(item) for key, item in argument.items()}
    if isinstance(argument, slice):
        return slice(value_of(argument.start), value_of(argument.stop), value_of(argument.step))
    return argument


class _RecordFactories(TorchFunctionMode):
    """Records new tensors as nodes.

    torch.fx takes what is made without its symbols as a constant: one ``torch.zeros`` that all
    runs would then write to.
    """

    def __init__(self, tracer: PathTracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in _FACTORIES and not self._tracer.computing:
            return self._tracer.create_proxy("call_function", func, args, kwargs or {})
        return func(*args, **(kwargs or {}))


class PathTracer(fx.Tracer):
    """Names every node by the path of its module, and keeps the requested leaves whole.

    The names are those of torchvision's ``get_graph_node_names`` (``layer1.0.conv1``,
    ``layer1.0.add``, ``layer1.0.relu_1`` for the second call), except that a module called
    ``conv_1`` keeps its number and that asking for a size is no node and takes no number.

    Attributes:
        names: name of each node.
        place: path of the module being traced; after a failure, of the one where it happened.
        computing: a symbol's value is being computed; nothing is recorded meanwhile.
    """

    def __init__(self, leaf_modules: Iterable[Leaf]) -> None:
        super().__init__()
        self.proxy_buffer_attributes = True
        leaves = list(leaf_modules)
        self._leaf_paths = {leaf for leaf in leaves if isinstance(leaf, str)}
        self._leaf_types = tuple(leaf for leaf in leaves if isinstance(leaf, type))
        self.names: dict[fx.Node, str] = {}
        self._taken: set[str] = set()
        self.place = ""
        self.computing = False
        self._inputs: Iterator[Any] = iter(())

    def record(self, model: nn.Module, inputs: list[Any], defaults: dict[str, Any]) -> fx.Graph:
        """Record the forward of ``model``.

        Args:
            model: in evaluation mode.
            inputs: the example, and the value of each further parameter.
            defaults: the further parameters' values by name.
        """
        self._inputs = iter(inputs)
        with torch.no_grad(), _RecordFactories(self):
            return self.trace(model, concrete_args=defaults or None)

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
        if self.computing or self._made_on_the_way(m):
            return forward(*args, **kwargs)
        outside, self.place = self.place, self.path_of_module(m)
        result = super().call_module(m, forward, args, kwargs)
        self.place = outside  # not in a finally clause: after a failure the place is still needed
        return result

    def _made_on_the_way(self, m: nn.Module) -> bool:
        """Whether a forward made this module itself, as in ``nn.ReLU()(x)``: it has no path.

        Raises:
            TraceError: if it has weights, which are never trained.
        """
        try:
            self.path_of_module(m)
        except NameError:
            own = [name for name, _ in (*m.named_parameters(), *m.named_buffers())]
            # Parameters made while a trace is recorded are symbols, which no module registers.
            own += [
                name
                for child in m.modules()
                for name, value in vars(child).items()
                if isinstance(value, ExampleProxy) and value.node.target == "requires_grad_"
            ]
            if own:
                raise TraceError(
                    f"a forward makes a {type(m).__name__} each time it runs, with fresh "
                    f"{' and '.join(own[:2])} that no training reaches: make it in __init__, as "
                    "an attribute"
                ) from None
            return True
        return False

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A module's attribute: a symbol for a parameter or buffer."""
        if self.computing:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """The symbol for what ``node`` yields."""
        return ExampleProxy(node, self)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any | None = None,
        proxy_factory_fn: Callable[[fx.Node], fx.Proxy] | None = None,
    ) -> Any:
        """Record one operation with its name and value; what only asks for a size is answered."""
        if (kind == "call_method" and target in _SIZE_METHODS) or (
            kind == "call_function" and target in _SIZE_FUNCTIONS
        ):
            return self._compute(kind, target, args, kwargs)
        proxy: Any = super().create_proxy(
            kind, target, args, kwargs, name, type_expr, proxy_factory_fn
        )
        self.names[proxy.node] = self._name(proxy.node)
        proxy.value = self._compute(kind, target, args, kwargs)
        return proxy

    def _name(self, node: fx.Node) -> str:
        if node.op in ("call_module", "placeholder"):
            wanted = str(node.target)
        else:
            # torch.fx numbers its names over the whole graph; ours count within a module.
            own = re.sub(r"_[0-9]+$", "", node.name)
            own = AUGMENTED.get(own, own)
            wanted = f"{self.place}.{own}" if self.place else own
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def _compute(
        self, kind: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if kind == "placeholder":
            return next(self._inputs)
        values, named = value_of(args), value_of(kwargs)
        self.computing = True
        try:
            if kind == "get_attr":
                return operator.attrgetter(target)(self.root)
            if kind == "call_module":
                return self.root.get_submodule(target)(*values, **named)
            if kind == "call_method":
                return getattr(values[0], target)(*values[1:], **named)
            return target(*values, **named)
        finally:
            self.computing = False
