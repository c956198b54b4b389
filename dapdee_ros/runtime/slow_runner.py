"""A slower processor, played on a fast one.

Every computation is followed by a wait, so that it takes as many times longer as asked for. The
answers are the real ones; only their time is stretched, and the processor is idle meanwhile, as
it would be if the computing were done elsewhere. What is stretched is the thread's processor time,
so that a busy machine does not count several times over. Where a CPU quota can be set, that is
closer to a slow machine; this needs no rights.
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


class SlowRunner:
    """A runner that takes ``slowdown`` times as long.

    Attributes:
        slowdown: how many times longer everything takes.
    """

    def __init__(self, runner: Runner, slowdown: float) -> None:
        self._runner = runner
        self.slowdown = slowdown

    def run(self, given: Mapping[str, Tensor], targets: Sequence[str]) -> dict[str, Tensor]:
        """As ``GraphRunner.run``, later."""
        started_s = time.thread_time()
        values = self._runner.run(given, targets)
        self._wait(started_s)
        return values

    def run_stages(
        self, given: Mapping[str, Tensor], stages: Sequence[Sequence[str]]
    ) -> Iterator[dict[str, Tensor]]:
        """As ``GraphRunner.run_stages``, each stage later."""
        started_s = time.thread_time()
        for values in self._runner.run_stages(given, stages):
            self._wait(started_s)
            yield values
            started_s = time.thread_time()

    def _wait(self, started_s: float) -> None:
        time.sleep((self.slowdown - 1) * (time.thread_time() - started_s))


def slowed_down(profile: DeviceProfile, slowdown: float) -> DeviceProfile:
    """A profile as it would be on a machine ``slowdown`` times slower."""
    return replace(
        profile,
        device=f"{profile.device}, played {slowdown:g} times slower",
        node_seconds={name: slowdown * s for name, s in profile.node_seconds.items()},
    )
