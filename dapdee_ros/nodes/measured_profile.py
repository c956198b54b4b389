"""This machine's whole profile: the network, codecs, and what a frame costs beside them.

This module is also a process that measures it for the testbed: it loads the network, says so, waits
for a line, measures, and prints the profile. So a CPU quota that is set in between slows down only
what is measured, not the loading.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from dapdee_ros.nodes.own_overhead import car_overhead, edge_overhead
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.sites import CAR
from dapdee_ros.tasks.task import task_of

if TYPE_CHECKING:
    from dapdee_ros.runtime.split_network import RunnableModel

READY = "loaded"


def measured_profile(model: RunnableModel, threads: int, side: str) -> DeviceProfile:
    """The profile of a model on this machine as car or edge server, from the cache or measured now.

    Args:
        model: the loaded model.
        threads: inference threads.
        side: ``car`` or ``edge``: what a frame costs beside the network differs.

    Raises:
        ProfileError: if the model could not be measured.
    """
    from dapdee_ros.runtime.own_profile import own_profile

    def complete(profile: DeviceProfile) -> DeviceProfile:
        card = model.card
        task = task_of(card)
        overhead = car_overhead(card, task) if side == CAR else edge_overhead(card, task)
        return replace(profile, overhead=overhead)

    return own_profile(model, threads, side=side, complete=complete)


def main() -> int:
    """Load, wait, measure, print."""
    model_name, engine, threads, side = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    from dapdee_ros.exits.card import find_model
    from dapdee_ros.exits.runnable import load_runnable

    model = load_runnable(find_model(model_name), engine, threads=threads)
    print(READY, flush=True)
    if not sys.stdin.readline():
        return 1
    profile = measured_profile(model, threads, side)
    print(json.dumps(profile.to_dict()), flush=True)
    # A clean exit takes torch half a second of a whole core, and there is nothing to clean up.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
