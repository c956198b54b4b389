"""Timing of short calls as frames find them: caches emptied, on a processor that may be shared."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

_LINE_BYTES = 64
# More than the caches of a small processor, and of one core of a large one.
_SWEPT_BYTES = 4 << 20


def cold_times(
    calls: Sequence[Callable[[], object]], budget_s: float, least_rounds: int
) -> list[float]:
    """Seconds that each call takes between two frames.

    In a loop it takes less: between two frames the network empties the caches, and a call of tens
    of microseconds then takes several times as long, the more the more code it runs. So a buffer is
    swept before each call, and calls take turns. On a processor with a quota, which computes at
    full speed and then stands still for the rest of its period, the clock says nothing of a short
    call either. So its processor time counts, times what a second of processor time took by the
    clock over all calls and sweeps together.

    Args:
        calls: what is timed, all of it on this thread; once more before, which allocates.
        budget_s: seconds by the clock, if that is more than the rounds take.
        least_rounds: how often each is timed at least; under a quota of a tenth of a core the mean
            over the middle half of 25 scatters by about a tenth.

    Returns:
        In the order of the calls.
    """
    swept = np.zeros(_SWEPT_BYTES, np.uint8)
    for call in calls:
        call()
    clock, processor = time.perf_counter, time.thread_time
    took_s: list[list[float]] = [[] for _ in calls]
    began_s, began_cpu_s = clock(), processor()
    rounds = 0
    while rounds < least_rounds or clock() < began_s + budget_s:
        rounds += 1
        for call, took in zip(calls, took_s, strict=True):
            swept[::_LINE_BYTES] += 1
            before_s = processor()
            call()
            took.append(processor() - before_s)
    spent_s = processor() - began_cpu_s
    stretch = max(1.0, (clock() - began_s) / spent_s) if spent_s > 0 else 1.0
    return [stretch * _middle(took) for took in took_s]


def _middle(values: list[float]) -> float:
    """The mean of the middle half."""
    cut = len(values) // 4
    return fmean(sorted(values)[cut : len(values) - cut])
