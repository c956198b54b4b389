"""Measures the car's slowdown: the same network profiled with and without the quota.

The measuring process (``nodes.measured_profile``) loads the network, reports that, waits for a
line, measures, and prints the profile. So the quota slows down only what is measured, not the
loading.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dapdee_ros.planning.device_profile import DeviceProfile

_PROCESS = "dapdee_ros.nodes.measured_profile"
_READY = "loaded"  # as that says it


class MeasuringError(RuntimeError):
    """A machine could not be measured; the message says why."""


def measure_machine(
    model: str,
    engine: str,
    threads: int,
    side: str,
    environment: Mapping[str, str],
    enter: Callable[[Sequence[str]], list[str]],
    slow_down: Callable[[], None],
    log: Path,
) -> DeviceProfile:
    """Profile a model as its node on that machine would, and store the profile in the node's cache.

    Args:
        model: name or folder.
        engine: what computes, one of ``ENGINES``.
        threads: inference threads.
        side: what that machine is, ``car`` or ``edge``.
        environment: of the process; ``ROS_HOME`` determines where profiles are cached.
        enter: makes a command run on that machine.
        slow_down: called once the network is loaded; sets the quota.
        log: file for the process's output.

    Returns:
        The profile.

    Raises:
        MeasuringError: with the process's output, if it failed.
    """
    command = [sys.executable, "-m", _PROCESS, model, engine, str(threads), side]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            enter(command),
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        if process.stdout.readline().strip() == _READY:
            slow_down()
            process.stdin.write("measure\n")
            process.stdin.flush()
            said = process.stdout.readline()
            if said.startswith("{"):
                process.wait()
                return DeviceProfile.from_dict(json.loads(said))
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()
    tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])
    raise MeasuringError(f"the profile of {model} could not be measured:\n{tail}")
