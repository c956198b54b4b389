"""How long the threads of this process waited for a processor."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dapdee_ros.runtime.cpu_wait import CpuWait

# Two busy threads of a process that may use one processor: one of them always waits.
CROWDED = """
import os, subprocess, sys, time
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from dapdee_ros.runtime.cpu_wait import CpuWait
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    wait = CpuWait()
    before_s, began_s = wait.seconds(), time.monotonic()
    while time.monotonic() < began_s + 1.0:
        pass
    print(wait.seconds() - before_s)
finally:
    other.kill()
"""


@pytest.fixture(autouse=True)
def statistics() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel counts no waits for a processor (/proc/self/schedstat is missing)")


def test_a_process_that_shares_its_processor_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CROWDED], capture_output=True, text=True, check=True, timeout=60
    )
    assert float(done.stdout) > 0.2


def test_sleeping_is_not_waiting() -> None:
    wait = CpuWait()
    thread = threading.Thread(target=time.sleep, args=(0.5,))
    thread.start()
    before_s = wait.seconds()
    thread.join()
    assert wait.seconds() - before_s < 0.25


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_threads_that_end_are_left_out_and_their_files_closed() -> None:
    wait = CpuWait()
    threads = [threading.Thread(target=time.sleep, args=(0.2,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    wait.seconds()
    held = open_files()
    for thread in threads:
        thread.join()
    # A thread that was joined is gone from the kernel's view only a moment later.
    until_s = time.monotonic() + 5
    while wait.seconds() >= 0 and open_files() > held - 20 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert open_files() <= held - 20
    wait.close()


def test_without_statistics_it_is_not_known(tmp_path: Path) -> None:
    assert math.isnan(CpuWait(tmp_path / "missing").seconds())
    (tmp_path / "1").mkdir()
    assert math.isnan(CpuWait(tmp_path).seconds())
    (tmp_path / "1" / "schedstat").write_text("torn")
    assert CpuWait(tmp_path).seconds() == 0.0
