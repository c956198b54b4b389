"""What an engine promises: compute any part of one network, on NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.graph.dag import GraphError, ModelDag

Array = NDArray[Any]
Stages = Sequence[Sequence[str]]

ENGINES = ("onnxruntime", "torch")
"""The default first."""

RAY = "ray"
"""What an edge server may have instead of an engine: replicas of the network on a Ray cluster."""

EDGE_ENGINES = (*ENGINES, RAY)
"""What an edge server may compute with."""

TORCH_MISSING = "needs PyTorch, which is not installed: pip install 'dapdee_ros[train]'"
"""How a sentence goes on that says what needs it."""

RAY_MISSING = "needs Ray, which is not installed: pip install 'dapdee_ros[ray]'"
"""Likewise."""

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""ONNX Runtime's execution providers by the names that a user gives them."""


class EngineError(RuntimeError):
    """An engine cannot be used here, or cannot compile a part; the message says what to do."""


class NotBatchable(EngineError):
    """A part that cannot be computed for several frames at once; the message says why."""


class Engine(Protocol):
    """Computes parts of a network with one copy of its weights.

    Attributes:
        dag: the network's DAG; tensors are called as its nodes.
        name: what computes, with its version: measurements by another one do not hold.
    """

    dag: ModelDag
    name: str

    def run(self, given: Mapping[str, Array], targets: Sequence[str]) -> dict[str, Array]:
        """Compute ``targets`` from ``given``.

        Args:
            given: arrays by node name, of the shapes and dtypes that the DAG states; never
                changed. Those that aren't needed are ignored.
            targets: names of the nodes whose tensors are wanted.

        Returns:
            The arrays by name, in the order of ``targets``; not to be written to.

        Raises:
            GraphError: if a name is unknown, an array doesn't fit, or the given ones don't suffice.
        """

    def run_stages(self, given: Mapping[str, Array], stages: Stages) -> Iterator[dict[str, Array]]:
        """The same for several groups of targets one after the other, each when it is asked for.

        What one stage computed is kept for the later ones. Errors are raised at the call.
        """

    def prepare(self, given: Iterable[str], stages: Stages) -> None:
        """Compile what ``run_stages`` with these names needs; from any thread.

        Raises:
            GraphError: as ``run``.
            EngineError: if it cannot be compiled.
        """

    def is_ready(self, given: Iterable[str], stages: Stages) -> bool:
        """Whether ``run_stages`` with these names would start to compute at once."""

    def prepare_batches(self, given: Iterable[str], targets: Sequence[str]) -> None:
        """Compile a part for batches, and check that they have the same answers; from any thread.

        Raises:
            NotBatchable: if it cannot be computed so; says why.
            GraphError: as ``run``.
            EngineError: if it cannot be compiled.
        """

    def run_batch(
        self, frames: Sequence[Mapping[str, Array]], targets: Sequence[str]
    ) -> list[dict[str, Array]]:
        """What ``run`` computes for each of several frames, together.

        Args:
            frames: per frame, arrays by the same names, as ``run`` takes them.
            targets: names of the nodes whose tensors are wanted.

        Raises:
            GraphError, EngineError: as ``run`` and ``prepare_batches``.
        """


def warm_up(engine: Engine) -> None:
    """Compute once what nobody asked for: the first time takes many times as long as all others."""
    dag = engine.dag
    node = dag.nodes[0]
    engine.run({dag.input: np.zeros(node.shape, node.dtype)}, dag.outputs)


def checked(dag: ModelDag, given: Mapping[str, Array]) -> None:
    """Hold arrays against what a DAG states of them.

    Raises:
        GraphError: if a name is unknown, or shape or dtype differ.
    """
    for name, array in given.items():
        node = dag.by_name.get(name)
        if node is None:
            raise GraphError(f"there is no node {name!r} in this model")
        if array.shape != node.shape or array.dtype != np.dtype(node.dtype):
            raise GraphError(
                f"tensor {name!r} should be {node.dtype} {node.shape}, what came is "
                f"{array.dtype} {array.shape}"
            )
