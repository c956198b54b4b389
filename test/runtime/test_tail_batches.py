"""The edge's thread with batches: real networks, and cars that send anything at all."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dapdee_ros.codecs import encode
from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.engines.engine import Array
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.runtime.cut_costs import spread_cuts
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

CARS = 8
WAIT_S = 30.0


class Batching:
    """The real engine, which counts batches, and in which they always pay.

    One frame alone is held up, so that on any machine the edge finds that batches pay.
    """

    def __init__(self, engine: Any, break_after: int = 1_000_000) -> None:
        self._engine = engine
        self.dag, self.name = engine.dag, engine.name
        self.sizes: Counter[int] = Counter()
        self._left = break_after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, given: Mapping[str, Array], targets: Sequence[str]) -> dict[str, Array]:
        time.sleep(0.01)
        self.sizes[1] += 1
        answer: dict[str, Array] = self._engine.run(given, targets)
        return answer

    def run_batch(
        self, frames: Sequence[Mapping[str, Array]], targets: Sequence[str]
    ) -> list[dict[str, Array]]:
        self._left -= 1
        if self._left < 0:
            raise MemoryError("no room for so many frames")
        self.sizes[len(frames)] += 1
        answers: list[dict[str, Array]] = self._engine.run_batch(frames, targets)
        return answers


@pytest.fixture(scope="module")
def model() -> Runnable:
    return load_runnable(find_model("roadsigns"))


@pytest.fixture(scope="module")
def images(model: Runnable) -> list[Array]:
    signs = RoadSigns(seed=3, size=model.card.input_size)
    return [signs.frame(k).image[None] for k in range(CARS)]


class Cars:
    """Cars that send their next frame when the last one was answered, until they have sent all."""

    def __init__(self, frame_of: Callable[[int, int], HeadFrame], each: int) -> None:
        self._frame_of, self._each = frame_of, each
        self._condition = threading.Condition()
        self.answers: dict[tuple[str, int], TailAnswer] = {}
        self.sent: dict[tuple[str, int], HeadFrame] = {}
        self._next: Counter[int] = Counter()
        self.tail: TailRuntime | None = None

    def answer(self, answer: TailAnswer) -> None:
        car = answer.context
        with self._condition:
            key = f"car{car}", answer.number
            assert key not in self.answers, "answered twice"
            self.answers[key] = answer
            self._condition.notify_all()
        self.send(car)

    def send(self, car: int) -> None:
        with self._condition:
            number = self._next[car] = self._next[car] + 1
            if number > self._each:
                return
            frame = replace(
                self._frame_of(car, number), number=number, car_id=f"car{car}", context=car
            )
            self.sent[frame.car_id, number] = frame
        assert self.tail is not None
        self.tail.submit(frame)

    def drive(self, tail: TailRuntime) -> None:
        """Send everything, and wait for the answers."""
        self.tail = tail
        for car in range(CARS):
            for _ in range(2):  # so that one always waits
                self.send(car)
        with self._condition:
            everything = CARS * self._each
            assert self._condition.wait_for(lambda: len(self.answers) == everything, WAIT_S)
        assert set(self.answers) == set(self.sent)


@contextmanager
def edge(model: Runnable, engine: Any, cars: Cars, **more: Any) -> Iterator[TailRuntime]:
    network = SplitNetwork(model, engine=engine)
    bounds = QueueBounds(frames=2)
    tail = TailRuntime(network, cars.answer, bounds=bounds, **{"most_batch": 8, **more})
    tail.start()
    try:
        yield tail
    finally:
        tail.stop()


def coded(
    model: Runnable, image: Array, boundary: Sequence[str], exit_number: int, codec: str = "f32"
) -> HeadFrame:
    sent = model.engine.run({model.card.dag.input: image}, boundary)
    specs, data = encode(sent, codec)
    return HeadFrame(0, 1, 0.0, model.card.model_id, exit_number, codec, specs, data)


def test_cars_with_other_cuts_exits_and_codecs_each_get_their_own_answers(
    model: Runnable, images: list[Array]
) -> None:
    dag = model.card.dag
    last = len(dag.exits)
    near = spread_cuts(dag, last, 3)[1]
    kinds = [
        ((dag.input,), last, "f32"), ((dag.input,), last, "f32"), ((dag.input,), last, "f32"),
        ((near,), last, "f32"), ((near,), last, "f16"), ((near,), last, "f32"),
        ((dag.input,), 1, "f32"), ((dag.input,), 2, "f32"),
    ]  # fmt: skip
    frames = [
        coded(model, image, cut, exit_number, codec)
        for image, (cut, exit_number, codec) in zip(images, kinds, strict=True)
    ]
    engine = Batching(model.engine)
    cars = Cars(lambda car, number: frames[car], each=40)
    with edge(model, engine, cars) as tail:
        cars.drive(tail)
    assert engine.sizes[2] and sum(n for size, n in engine.sizes.items() if size > 1) > 10
    assert tail.runs < tail.computed == CARS * 40
    network = SplitNetwork(model)
    for car, (image, (_, exit_number, codec)) in enumerate(zip(images, kinds, strict=True)):
        outputs = model.engine.run({dag.input: image}, dag.exit_outputs(exit_number))
        expected = network.decode(outputs, exit_number)
        close = 1e-2 if codec == "f16" else 1e-4
        for number in range(1, 41):
            answer = cars.answers[f"car{car}", number]
            assert (answer.status, answer.exit_number) == (Status.OK, exit_number)
            assert answer.answer.class_id == expected.class_id
            assert answer.answer.score == pytest.approx(expected.score, abs=close)


def test_a_cars_invalid_frames_are_its_own_trouble(model: Runnable, images: list[Array]) -> None:
    dag = model.card.dag
    last = len(dag.exits)
    near = spread_cuts(dag, last, 3)[1]
    good = [coded(model, image, (near,), last) for image in images]
    torn = replace(good[0], data=good[0].data[:-8])
    numberless = coded(model, images[1], (near,), last)
    values = np.full(dag.by_name[near].shape, np.nan, np.float32)
    specs, data = encode({near: values}, "f32")
    bad = {
        0: torn,
        1: replace(numberless, specs=specs, data=data),
        2: replace(good[2], model_id="another"),
        3: replace(good[3], specs=[replace(good[3].specs[0], shape=(1, 2, 3))]),
    }

    def frame_of(car: int, number: int) -> HeadFrame:
        return bad[car] if car in bad and number > 10 and number % 2 else good[car]

    engine = Batching(model.engine)
    cars = Cars(frame_of, each=40)
    with edge(model, engine, cars) as tail:
        cars.drive(tail)
    assert sum(n for size, n in engine.sizes.items() if size > 1) > 10
    network = SplitNetwork(model)
    statuses: dict[int, Counter[Status]] = {car: Counter() for car in range(CARS)}
    for car in range(CARS):
        outputs = model.engine.run({dag.input: images[car]}, dag.exit_outputs(last))
        expected = network.decode(outputs, last)
        for number in range(1, 41):
            answer = cars.answers[f"car{car}", number]
            statuses[car][answer.status] += 1
            if cars.sent[f"car{car}", number] is good[car] or car not in bad:
                assert answer.status is Status.OK
                assert answer.answer.score == pytest.approx(expected.score, abs=1e-4)
    assert statuses[0][Status.BAD_TENSOR] == statuses[3][Status.BAD_TENSOR] == 15
    assert statuses[2][Status.WRONG_MODEL] == 15
    # NaN is the car's own: whatever is said of it is said to it.
    assert statuses[1][Status.OK] >= 25
    for car in range(4, CARS):
        assert statuses[car] == {Status.OK: 40}


def test_when_a_batch_fails_its_frames_are_computed_one_by_one(
    model: Runnable, images: list[Array], caplog: pytest.LogCaptureFixture
) -> None:
    dag = model.card.dag
    frames = [coded(model, image, (dag.input,), len(dag.exits)) for image in images]
    engine = Batching(model.engine, break_after=5)
    cars = Cars(lambda car, number: frames[car], each=20)
    with edge(model, engine, cars) as tail:
        cars.drive(tail)
    assert {answer.status for answer in cars.answers.values()} == {Status.OK}
    assert sum(n for size, n in engine.sizes.items() if size > 1) == 5
    assert caplog.text.count("could not be computed together") == 1


@pytest.mark.parametrize("engine_name", ["onnxruntime", "torch"])
def test_without_batches_there_are_none(engine_name: str, images: list[Array]) -> None:
    model = load_runnable(find_model("roadsigns"), engine_name)
    dag = model.card.dag
    frames = [coded(model, image, (dag.input,), len(dag.exits)) for image in images]
    engine = Batching(model.engine)
    cars = Cars(lambda car, number: frames[car], each=8)
    with edge(model, engine, cars, most_batch=1 if engine_name == "onnxruntime" else 8) as tail:
        cars.drive(tail)
    assert engine.sizes == {1: CARS * 8}
    assert tail.runs == tail.computed == CARS * 8
