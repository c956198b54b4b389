"""A slower processor, emulated on a fast one.

Every computation is followed by a wait, so that it takes the requested multiple of its time. The
answers are real; only their time is stretched, and the processor is idle meanwhile. The thread's
CPU time is stretched, so that other load on the machine is not multiplied. A CPU quota is closer to
a slow machine, but this needs no privileges.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from dapdee_ros.partition.device_profile import DeviceProfile
    from dapdee_ros.runtime.split_network import Runner

MOST_SLOWDOWN = 1000.0

_MOST_OVER_USUAL = 1.5
_LEARNING = 0.2


class SlowRunner:
    """A runner that takes ``slowdown`` times as long.

    Attributes:
        slowdown: factor on all times.
    """

    def __init__(self, runner: Runner, slowdown: float) -> None:
        self._runner = runner
        self.slowdown = slowdown
        self._usual_s: dict[tuple[str, ...], float] = {}

    def run(self, given: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        """As ``GraphRunner.run``, later."""
        started_s = time.thread_time()
        values = self._runner.run(given, targets)
        self._wait((*given, "", *targets), started_s)
        return values

    def run_stages(
        self, given: Mapping[str, Tensor], stages: Sequence[Sequence[str]]
    ) -> Iterator[dict[str, Tensor]]:
        """As ``GraphRunner.run_stages``, each stage later."""
        started_s = time.thread_time()
        done: tuple[str, ...] = tuple(given)
        for values, names in zip(self._runner.run_stages(given, stages), stages, strict=True):
            self._wait((*done, "", *names), started_s)
            done = (*done, *names)
            yield values
            started_s = time.thread_time()

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
    )
