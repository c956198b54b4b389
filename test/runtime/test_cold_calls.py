"""What a short call takes between two frames, also on a processor with a quota."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from dapdee_ros.codecs import encode
from dapdee_ros.runtime.codec_times import codec_times
from dapdee_ros.runtime.cold_calls import cold_times
from dapdee_ros.testbed.cpu_quota import CpuGroups, CpuQuotaError
from dapdee_ros.testbed.enter import entering
from dapdee_ros.testbed.owner import new_name

CODED_BYTES = 16_384
REPEATS = 5
UNDER_QUOTA = f"""
import json
from dapdee_ros.runtime.codec_times import codec_times
print(json.dumps([
    {{name: times.encode_s for name, times in codec_times(("f32", "jpeg")).items()}}
    for _ in range({REPEATS})
]))
"""


def spin(seconds: float) -> None:
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


def in_a_loop_s() -> float:
    """Processor time of coding a small tensor as it is, over and over."""
    tensors = {"tensor": np.zeros((1, 16, 16, 16), np.float32)}
    encode(tensors, "f32")
    began_s = time.thread_time()
    for _ in range(1000):
        encode(tensors, "f32")
    return (time.thread_time() - began_s) / 1000


def test_codecs_are_timed_as_frames_find_them_and_not_in_a_loop() -> None:
    before_s = in_a_loop_s()
    f32 = codec_times(("f32",))["f32"]
    cold_s = f32.encode_s + CODED_BYTES * f32.encode_s_per_byte
    assert cold_s > 1.5 * min(before_s, in_a_loop_s())


def test_calls_are_timed_within_their_budget_or_so_often() -> None:
    began_s = time.perf_counter()
    short_s, long_s = cold_times((lambda: spin(1e-3), lambda: spin(4e-3)), 0.1, 3)
    assert 1e-3 <= short_s < long_s
    assert long_s >= 4e-3
    assert 0.1 <= time.perf_counter() - began_s < 2.0
    calls: list[None] = []
    cold_times((lambda: calls.append(None),), 0.0, 9)
    assert len(calls) == 10  # once before


def test_calls_of_a_processor_on_a_quota_take_their_share_of_its_pauses() -> None:
    # Works for 1 ms of every 10: each call is short, but a hundred of them take ten times as long.
    worked_s = 0.0

    def call() -> None:
        nonlocal worked_s
        spin(1e-4)
        worked_s += 1e-4
        if worked_s >= 1e-3:
            worked_s = 0.0
            time.sleep(0.009)

    assert cold_times((call,), 0.2, 5)[0] > 2e-4


@pytest.fixture
def groups() -> Iterator[CpuGroups]:
    try:
        groups = CpuGroups(new_name())
    except CpuQuotaError as error:
        pytest.skip(str(error))
    yield groups
    groups.close()


@pytest.mark.root
def test_codecs_times_agree_under_a_quota_of_a_tenth_of_a_core(groups: CpuGroups) -> None:
    command = [sys.executable, "-c", UNDER_QUOTA]
    slow = entering(command, groups=[groups.make("slow", 0.1)])
    found = json.loads(subprocess.run(slow, capture_output=True, check=True, text=True).stdout)
    whole = codec_times(("f32", "jpeg"))
    for name in ("f32", "jpeg"):
        seconds = [times[name] for times in found]
        # Within a tenth on a machine of its own; a factor of ten where pauses fall on some calls.
        assert max(seconds) < 2 * min(seconds), name
        assert min(seconds) > 3 * whole[name].encode_s, name
