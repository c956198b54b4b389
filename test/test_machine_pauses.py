"""A core that is kept from running is noticed; one that is only busy is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.machine_pauses import LONGEST_S, MachinePauses

pytestmark = pytest.mark.alone


def test_a_pause_is_noticed_with_its_length(tmp_path: Path) -> None:
    with MachinePauses(tmp_path) as pauses:
        time.sleep(0.5)
        stopped_s = time.monotonic()
        for sleeper in pauses._sleepers:
            os.kill(sleeper.pid, signal.SIGSTOP)
        time.sleep(3 * LONGEST_S)
        for sleeper in pauses._sleepers:
            os.kill(sleeper.pid, signal.SIGCONT)
        seen = pauses.since(stopped_s)
        assert len(seen) >= len(pauses._sleepers)
        assert all(late_s > LONGEST_S for _, late_s in seen)
        assert not pauses.since(time.monotonic())


def test_a_busy_machine_is_no_pause(tmp_path: Path) -> None:
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(2 * len(os.sched_getaffinity(0)))]
    try:
        with MachinePauses(tmp_path) as pauses:
            started_s = time.monotonic()
            time.sleep(3.0)
            # One, as the host may pause the machine just now.
            assert len(pauses.since(started_s)) <= 1
    finally:
        for process in busy:
            process.kill()
            process.wait()
