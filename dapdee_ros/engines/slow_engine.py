"""A slower processor, emulated on a fast one.

Every computation is followed by a wait, so that it takes the requested multiple of its time. The
answers are real; only their time is stretched, and the processor is idle meanwhile. The thread's
CPU time is stretched, so that other load on the machine is not multiplied. A CPU quota is closer to
a slow machine, but this needs no privileges.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from dapdee_ros.codecs.bottleneck.file import is_point
from dapdee_ros.engines.engine import Array, Engine, Stages

if TYPE_CHECKING:
    from dapdee_ros.planning.device_profile import DeviceProfile

MOST_SLOWDOWN = 1000.0

_MOST_OVER_USUAL = 1.5
_LEARNING = 0.2
_Result = TypeVar("_Result")


class SlowEngine:
    """An engine that takes ``slowdown`` times as long.

    Attributes:
        dag: the network's DAG.
        name: that of the engine that computes.
        slowdown: factor on all times.
    """

    def __init__(self, engine: Engine, slowdown: float) -> None:
        self._engine = engine
        self.dag = engine.dag
        self.name = engine.name
        self.slowdown = slowdown
        self._usual_s: dict[tuple[str, ...], float] = {}

    def run(self, given: Mapping[str, Array], targets: Sequence[str]) -> dict[str, Array]:
        """As ``Engine.run``, later."""
        started_s = time.thread_time()
        values = self._engine.run(given, targets)
        self._wait((*given, "", *targets), started_s)
        return values

    def run_stages(self, given: Mapping[str, Array], stages: Stages) -> Iterator[dict[str, Array]]:
        """As ``Engine.run_stages``, each stage later."""
        started_s = time.thread_time()
        done: tuple[str, ...] = tuple(given)
        for values, names in zip(self._engine.run_stages(given, stages), stages, strict=True):
            self._wait((*done, "", *names), started_s)
            done = (*done, *names)
            yield values
            started_s = time.thread_time()

    def prepare(self, given: Iterable[str], stages: Stages) -> None:
        """As ``Engine.prepare``."""
        self._engine.prepare(given, stages)

    def is_ready(self, given: Iterable[str], stages: Stages) -> bool:
        """As ``Engine.is_ready``."""
        return self._engine.is_ready(given, stages)

    def prepare_batches(self, given: Iterable[str], targets: Sequence[str]) -> None:
        """As ``Engine.prepare_batches``."""
        self._engine.prepare_batches(given, targets)

    def run_batch(
        self, frames: Sequence[Mapping[str, Array]], targets: Sequence[str]
    ) -> list[dict[str, Array]]:
        """As ``Engine.run_batch``, later."""
        started_s = time.thread_time()
        values = self._engine.run_batch(frames, targets)
        self._wait((*frames[0], f"{len(frames)} frames", *targets), started_s)
        return values

    @property
    def wrapped(self) -> Engine:
        """The engine that computes."""
        return self._engine

    def stretched(self, what: tuple[str, ...], call: Callable[[], _Result]) -> _Result:
        """The result of a computation beside the engine, later.

        Args:
            what: names that stand for it, to compare it with itself.
            call: computes, on this thread.
        """
        started_s = time.thread_time()
        result = call()
        self._wait(("beside", *what), started_s)
        return result

    def _wait(self, what: tuple[str, ...], started_s: float) -> None:
        spent_s = time.thread_time() - started_s
        # A hiccup of this machine would become a stall that a slow machine would not have.
        spent_s = min(spent_s, _MOST_OVER_USUAL * self._usual_s.get(what, spent_s))
        usual_s = self._usual_s.setdefault(what, spent_s)
        self._usual_s[what] = usual_s + _LEARNING * (spent_s - usual_s)
        time.sleep((self.slowdown - 1) * spent_s)


def slowed_down(profile: DeviceProfile, slowdown: float) -> DeviceProfile:
    """A profile as it would be on a machine ``slowdown`` times slower."""
    return replace(
        profile,
        device=f"{profile.device}, emulated {slowdown:g} times slower",
        node_seconds={name: slowdown * s for name, s in profile.node_seconds.items()},
        cut_s=slowdown * profile.cut_s,
        cut_s_per_byte=slowdown * profile.cut_s_per_byte,
        # Of the codecs only the bottlenecks' networks are computed by an engine.
        codecs={
            name: type(times)(*(slowdown * s for s in times)) if is_point(name) else times
            for name, times in profile.codecs.items()
        },
    )
