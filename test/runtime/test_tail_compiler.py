"""The edge compiles what frames need beside the thread that computes them, ahead if it can."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dapdee_ros.codecs import encode
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.engines.engine import EngineError, Stages
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

SLOW_S = 1.0


class SlowToCompile:
    """The real engine, compiling parts as slowly as that of a large network does."""

    def __init__(self, engine: Any, slow_s: float = SLOW_S, broken: bool = False) -> None:
        self._engine, self._slow_s, self._broken = engine, slow_s, broken
        self.dag, self.name = engine.dag, engine.name
        self.compiled_on: list[str] = []

    def is_ready(self, given: Iterable[str], stages: Stages) -> bool:
        return self._engine.is_ready(given, stages)

    def prepare(self, given: Iterable[str], stages: Stages) -> None:
        if not self.is_ready(given, stages):
            self.compiled_on.append(threading.current_thread().name)
            time.sleep(self._slow_s)
            if self._broken:
                raise EngineError("no kernel for this")
        self._engine.prepare(given, stages)

    def run(self, given: Any, targets: Any) -> Any:
        self.prepare(given, [targets])
        return self._engine.run(given, targets)

    def prepare_batches(self, given: Any, targets: Any) -> None:
        self._engine.prepare_batches(given, targets)

    def run_batch(self, frames: Any, targets: Any) -> Any:
        return self._engine.run_batch(frames, targets)

    def run_stages(self, given: Any, stages: Any) -> Any:
        self.prepare(given, stages)
        return self._engine.run_stages(given, stages)


class Edge:
    """A tail with its answers, and frames for it."""

    def __init__(self, slow_s: float = SLOW_S, broken: bool = False) -> None:
        model = load_runnable(find_model("roadsigns"), "onnxruntime")
        self.engine = SlowToCompile(model.engine, slow_s, broken)
        self.network = SplitNetwork(model, engine=self.engine)
        self.answers: queue.Queue[TailAnswer] = queue.Queue()
        self.tail = TailRuntime(self.network, self.answers.put)
        self.exits = len(self.network.dag.exits)
        inner = [c.boundary for c in cuts(self.network.dag, self.exits) if len(c.nodes) > 1]
        self.boundaries = [boundary for boundary in inner if boundary]
        self._model = model

    def frame(self, number: int, boundary: tuple[str, ...], car: str = "car1") -> HeadFrame:
        dag = self.network.dag
        image = np.zeros(dag.nodes[0].shape, dag.nodes[0].dtype)
        specs, data = encode(self._model.engine.run({dag.input: image}, boundary), "f32")
        model_id = self.network.card.model_id
        return HeadFrame(number, 1, 0.0, model_id, self.exits, "f32", specs, data, car)

    def __enter__(self) -> Edge:
        self.tail.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.tail.stop()


def test_another_cars_frame_does_not_wait_until_a_part_is_compiled() -> None:
    with Edge() as edge:
        old, new = edge.boundaries[:2]
        edge.engine._engine.prepare(old, [edge.network.dag.exit_outputs(edge.exits)])
        first, second = edge.frame(1, new), edge.frame(2, old, "car2")
        began_s = time.monotonic()
        edge.tail.submit(first)
        edge.tail.submit(second)
        answered = edge.answers.get(timeout=10.0)
        assert answered.number == 2
        assert time.monotonic() - began_s < SLOW_S / 2
        answered = edge.answers.get(timeout=10.0)
        assert (answered.number, answered.status) == (1, Status.OK)
        assert answered.residence_s > 0.9 * SLOW_S
        assert answered.tail_s < SLOW_S / 2
        assert edge.engine.compiled_on == ["compiler"]


def test_what_was_announced_is_compiled_before_its_first_frame() -> None:
    with Edge(slow_s=0.2) as edge:
        coming = edge.frame(1, edge.boundaries[0])
        empty = [replace(spec, length=0) for spec in coming.specs]
        announced = replace(coming, number=0, specs=empty, data=b"")
        assert announced.is_announcement
        edge.tail.expect(announced)
        edge.tail.expect(announced)
        part = (frozenset(edge.boundaries[0]), [edge.network.dag.exit_outputs(edge.exits)])
        ends_s = time.monotonic() + 10.0
        while not edge.engine.is_ready(*part):
            assert time.monotonic() < ends_s
            time.sleep(0.01)
        edge.tail.submit(coming)
        assert edge.answers.get(timeout=10.0).residence_s < 0.2
        assert edge.engine.compiled_on == ["compiler"]


def test_announcements_that_fit_nothing_are_counted_and_harmless() -> None:
    with Edge() as edge:
        good = edge.frame(1, edge.boundaries[0])
        for bad in (
            replace(good, model_id="another"),
            replace(good, exit_number=99),
            replace(good, specs=[replace(good.specs[0], name="nowhere")]),
            replace(good, specs=list(good.specs) * 300),
        ):
            edge.tail.expect(bad)
        assert sum(edge.tail.rejections.counts.values()) == 4
        assert not edge.engine.compiled_on


def test_a_part_that_cannot_be_compiled_is_an_error_of_its_frame_alone() -> None:
    with Edge(slow_s=0.0, broken=True) as edge:
        edge.tail.submit(edge.frame(1, edge.boundaries[0]))
        answered = edge.answers.get(timeout=10.0)
        assert answered.status is Status.ERROR
        assert "no kernel" in answered.detail
        edge.tail.submit(edge.frame(2, edge.boundaries[0]))
        assert edge.answers.get(timeout=10.0).status is Status.ERROR


@pytest.mark.parametrize("running", [True, False])
def test_it_ends_while_something_is_compiled(running: bool) -> None:
    edge = Edge(slow_s=0.3)
    if running:
        edge.tail.start()
        edge.tail.submit(edge.frame(1, edge.boundaries[0]))
        time.sleep(0.1)
    edge.tail.stop()
    if running:
        assert edge.answers.get(timeout=1.0).status is Status.BUSY
