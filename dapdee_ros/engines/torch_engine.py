"""Compute parts of a network with PyTorch: a tail of a head is the whole network, bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from dapdee_ros.engines.engine import Array, NotBatchable, Stages, checked
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner


class TorchEngine:
    """Runs any part of a traced network; see ``Engine`` for what it promises.

    It runs on as many threads as ``torch.set_num_threads`` says.

    Attributes:
        dag: the network's DAG.
        name: torch and its version.
        runner: what computes, on torch's tensors.
    """

    def __init__(self, runner: GraphRunner) -> None:
        self.dag: ModelDag = runner.dag
        self.name = f"torch {torch.__version__}"
        self.runner = runner

    def run(self, given: Mapping[str, Array], targets: Sequence[str]) -> dict[str, Array]:
        """Compute ``targets`` from ``given``; see ``Engine.run``."""
        return next(self.run_stages(given, [targets]))

    def run_stages(self, given: Mapping[str, Array], stages: Stages) -> Iterator[dict[str, Array]]:
        """Compute several groups of targets one after the other; see ``Engine.run_stages``."""
        checked(self.dag, given)
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        computed = self.runner.run_stages(tensors, stages)
        return ({name: t.numpy() for name, t in values.items()} for values in computed)

    def prepare(self, given: Iterable[str], stages: Stages) -> None:
        """Nothing has to be compiled."""

    def is_ready(self, given: Iterable[str], stages: Stages) -> bool:
        """Always."""
        return True

    def prepare_batches(self, given: Iterable[str], targets: Sequence[str]) -> None:
        """Not possible: a batch would not have the answers of its frames bit for bit.

        Raises:
            NotBatchable: always.
        """
        raise NotBatchable("engine torch computes one frame at a time, bit for bit")

    def run_batch(
        self, frames: Sequence[Mapping[str, Array]], targets: Sequence[str]
    ) -> list[dict[str, Array]]:
        """Not possible; see ``prepare_batches``."""
        raise NotBatchable("engine torch computes one frame at a time, bit for bit")
