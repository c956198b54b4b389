"""Measures the car's slowdown: the same network profiled with and without the quota.

This module is also the measuring process: it loads the network, reports that, waits for a line,
measures, and prints the profile. So the quota slows down only the computation, not the loading.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dapdee_ros.planning.device_profile import DeviceProfile

_READY = "loaded"


class MeasuringError(RuntimeError):
    """A machine could not be measured; the message says why."""


def measure_machine(
    model: str,
    engine: str,
    threads: int,
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
        environment: of the process; ``ROS_HOME`` determines where profiles are cached.
        enter: makes a command run on that machine.
        slow_down: called once the network is loaded; sets the quota.
        log: file for the process's output.

    Returns:
        The profile.

    Raises:
        MeasuringError: with the process's output, if it failed.
    """
    command = [sys.executable, "-m", __name__, model, engine, str(threads)]
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


def main() -> int:
    """Load, wait, measure, print."""
    model_name, engine, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from dapdee_ros.exits.card import find_model
    from dapdee_ros.exits.runnable import load_runnable
    from dapdee_ros.runtime.own_profile import own_profile

    model = load_runnable(find_model(model_name), engine, threads=threads)
    print(_READY, flush=True)
    if not sys.stdin.readline():
        return 1
    profile = own_profile(model, threads)
    print(json.dumps(profile.to_dict()), flush=True)
    # A clean exit takes torch half a second of a whole core, and there is nothing to clean up.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
