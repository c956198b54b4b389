"""What tests of the edge before a Ray cluster share."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psutil
import pytest

from dapdee_ros.codecs import encode
from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.engines.engine import Array
from dapdee_ros.exits.runnable import Runnable
from dapdee_ros.runtime.ray_cluster import RayCluster
from dapdee_ros.runtime.ray_replica import ReplicaOptions
from dapdee_ros.runtime.ray_settings import RaySettings
from dapdee_ros.runtime.ray_worker import RayWorker
from dapdee_ros.runtime.split_network import ModelPrograms
from dapdee_ros.runtime.tail import TailRuntime

WAIT_S = 60.0

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: make test-ray"
)

RAY_MARKS = [
    pytest.mark.ray,
    needs_ray,
    pytest.mark.timeout(300),
    # Ray's own, of a library that it uses.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
]


def until(condition: Callable[[], object], what: str, within_s: float = WAIT_S) -> None:
    """Wait until something is so; fail the test if it takes too long."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


def processes_below(pid: int) -> list[psutil.Process]:
    """What a process has started, and what that has, and so on."""
    return psutil.Process(pid).children(recursive=True)


def are_gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether processes have ended, be it that nobody has asked for their status yet."""
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return False
        except psutil.NoSuchProcess:
            continue
    return True


def replicas_below(pid: int) -> set[int]:
    """The replicas' processes in a Ray cluster that a process has started."""
    found = set()
    for process in processes_below(pid):
        try:
            if " ".join(process.cmdline()).startswith("ray::ServeReplica"):
                found.add(process.pid)
        except psutil.Error:
            continue  # it has just ended
    return found


def kill_a_replica(pid: int) -> int:
    """End one replica of a process's cluster as a crash would; returns which."""
    victim = min(replicas_below(pid))
    os.kill(victim, signal.SIGKILL)
    return victim


def images_of(model: Runnable, count: int) -> list[Array]:
    """Frames of a network's size."""
    signs = RoadSigns(seed=3, size=model.card.input_size)
    return [signs.frame(k).image[None] for k in range(count)]


def coded(
    model: Runnable, image: Array, boundary: tuple[str, ...], exit_number: int, codec: str = "f32"
) -> HeadFrame:
    """What a head sends of a frame."""
    sent = model.engine.run({model.card.dag.input: image}, boundary)
    specs, data = encode(sent, codec)
    return HeadFrame(0, 1, 0.0, model.card.model_id, exit_number, codec, specs, data)


def whole(model: Runnable, image: Array) -> HeadFrame:
    """A frame of which the edge computes everything."""
    return coded(model, image, (model.card.dag.input,), len(model.card.dag.exits))


@contextmanager
def cluster_of(
    model: Runnable, settings: RaySettings, options: ReplicaOptions | None = None
) -> Iterator[RayCluster]:
    """Replicas, until the block ends."""
    cluster = RayCluster(model.card, settings, options)
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def gateway(
    model: Runnable,
    cluster: RayCluster,
    answer: Callable[[TailAnswer], object],
    most_batch: int = 1,
) -> Iterator[tuple[TailRuntime, RayWorker]]:
    """The edge's runtime before replicas, until the block ends."""
    network = ModelPrograms(model.card)
    worker = RayWorker(
        network,
        cluster,
        in_flight=cluster.settings.ray_in_flight,
        most_replicas=cluster.settings.most_replicas,
    )
    tail = TailRuntime(
        network, answer, bounds=QueueBounds(frames=2), most_batch=most_batch, worker=worker
    )
    tail.start()
    try:
        yield tail, worker
    finally:
        tail.stop()


def answers_to(
    frames: Sequence[HeadFrame], tail: TailRuntime, answers: list[TailAnswer]
) -> list[TailAnswer]:
    """Submit frames, each once the one before it is answered, and wait for the answers.

    Args:
        frames: the frames.
        tail: the runtime.
        answers: where it puts its answers.
    """
    first = len(answers)
    for number, frame in enumerate(frames, start=1):
        tail.submit(replace(frame, number=number, car_id="car"))
        until(lambda wanted=first + number: len(answers) >= wanted, "an answer")  # type: ignore[misc]
    return answers[first:]


class Cars:
    """Cars that send their next frame when the last one was answered, while they are driven.

    Attributes:
        sent: frames by car.
        answers: answers by car and number.
    """

    def __init__(self, frames: Sequence[HeadFrame]) -> None:
        self._frames = frames
        self._condition = threading.Condition()
        self._driving = False
        self.sent: Counter[int] = Counter()
        self.answers: dict[tuple[int, int], TailAnswer] = {}
        self.tail: TailRuntime | None = None

    def answer(self, answer: TailAnswer) -> None:
        """Take an answer."""
        car = answer.context
        with self._condition:
            assert (car, answer.number) not in self.answers, "answered twice"
            self.answers[car, answer.number] = answer
            self._condition.notify_all()
            if not self._driving:
                return
        self.send(car)

    def send(self, car: int) -> None:
        """Send a car's next frame."""
        assert self.tail is not None
        with self._condition:
            self.sent[car] += 1
            number = self.sent[car]
        frame = self._frames[car % len(self._frames)]
        self.tail.submit(replace(frame, number=number, car_id=f"car{car}", context=car))

    @contextmanager
    def driving(self, cars: int, tail: TailRuntime) -> Iterator[None]:
        """Have cars send, two frames in flight each, until the block ends; then wait for all."""
        self.tail, self._driving = tail, True
        for car in range(cars):
            for _ in range(2):
                self.send(car)
        try:
            yield
        finally:
            self._driving = False
        self.finish()

    def finish(self) -> None:
        """Wait for what is still on its way."""
        until(lambda: len(self.answers) == self.sent.total(), "the last answers")

    def wait(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, f"{count} more answers")

    def statuses(self) -> Counter[Status]:
        """How many answers of each status there are."""
        return Counter(answer.status for answer in self.answers.values())
