"""Plays a link's trace on a real link, in real time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from dapdee_ros.simulation.link_trace import LinkTrace

SAMPLE_S = 0.1
"""A packet trace is applied as its mean rate over this time."""


def rate_changes(trace: LinkTrace) -> Iterator[tuple[float, float]]:
    """Times in s, and the rates in bit/s from then on; the first at 0, no rate repeated."""
    last_bps = -1.0
    for at_s, rate_bps in _samples(trace) if trace.rate_window_s else _pieces(trace):
        if rate_bps != last_bps:
            last_bps = rate_bps
            yield at_s, rate_bps


def _samples(trace: LinkTrace) -> Iterator[tuple[float, float]]:
    index = 0
    while True:
        at_s = index * SAMPLE_S
        yield at_s, trace.mean_bps(at_s, at_s + SAMPLE_S)
        index += 1


def _pieces(trace: LinkTrace) -> Iterator[tuple[float, float]]:
    start_s = 0.0
    while True:
        for edge_s, rate_bps in zip(trace.edges_s, trace.rates_bps, strict=True):
            yield start_s + float(edge_s), float(rate_bps)
        start_s += trace.period_s
        if start_s == float("inf"):
            return


class LinkPlayer:
    """Changes a link's rate according to a trace, on a separate thread.

    Attributes:
        played: what was set: (seconds from the start, bit/s).
    """

    def __init__(self, trace: LinkTrace, change: Callable[[float], None]) -> None:
        """Prepare; ``start`` begins.

        Args:
            trace: the link.
            change: sets a rate in bit/s; called on the thread.
        """
        self._trace = trace
        self._change = change
        self._stopping = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._play, name="link", daemon=True)
        self._start_s = 0.0
        self.played: list[tuple[float, float]] = []

    def start(self, start_s: float | None = None) -> None:
        """Start; the trace's time 0 is ``start_s`` on the monotonic clock, or now."""
        self._start_s = time.monotonic() if start_s is None else start_s
        self._thread.start()

    def stop(self) -> None:
        """End the thread; the link keeps the rate that it has."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise what went wrong on the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def _play(self) -> None:
        try:
            for at_s, rate_bps in rate_changes(self._trace):
                if self._stopping.wait(max(0.0, self._start_s + at_s - time.monotonic())):
                    return
                self._change(rate_bps)
                self.played.append((time.monotonic() - self._start_s, rate_bps))
        except Exception as error:
            # The main thread checks it: a run over a link that no longer changes is worthless.
            self._error = error
