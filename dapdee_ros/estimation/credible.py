"""Plausibility of reported times, sizes and shares.

Reports arrive over the network from any sender. A plausible one may still be forged, which only a
sealed link prevents; an implausible one must have no effect, least of all a lasting one. Every
function returns what is wrong, as text, or an empty string.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

LONGEST_S = 120.0
"""Twice the longest deadline a head accepts: no part of a frame takes longer, in s."""

MOST_BYTES = 64 << 20
"""Largest encoded size of one frame."""

FASTEST_BPS = 1e12
"""Upper bound of a link's rate, in bit/s."""

MOST_SLOWDOWN = 1e4
"""A larger slowdown is a stall, not a speed."""

_ROUNDING_S = 1e-6  # of sums and differences of times since the machine's start
_EXCESS = 0.01  # shares may be rounded up, to a per cent of what there is


def transfer_fault(
    now_s: float, sent_s: float, transfer_s: float, residence_s: float, n_bytes: int
) -> str:
    """What is wrong with the report of a message that was answered.

    Args:
        now_s: the time here.
        sent_s: when it was sent, on the clock of ``now_s``.
        transfer_s: its round trip minus its residence on the edge.
        residence_s: that residence.
        n_bytes: its size.
    """
    if not (_is_duration(transfer_s) and _is_duration(residence_s)):
        return f"{transfer_s} s on the link and {residence_s} s on the edge cannot be"
    arrived_s = sent_s + transfer_s + residence_s
    if not now_s - LONGEST_S <= arrived_s <= now_s + _ROUNDING_S:
        return f"it was answered {arrived_s - now_s} s from now, expected to be just past"
    return _size_fault(n_bytes)


def wait_fault(now_s: float, sent_s: float, n_bytes: int) -> str:
    """What is wrong with the report of a message, sent at ``sent_s``, that got no answer."""
    if not 0 <= now_s - sent_s <= LONGEST_S:
        return f"it was sent {now_s - sent_s} s ago, expected 0 to {LONGEST_S:g} s"
    return _size_fault(n_bytes)


def durations_fault(durations_s: Mapping[str, float]) -> str:
    """What is wrong with the seconds of one frame, by their names."""
    for name, seconds in durations_s.items():
        if not _is_duration(seconds):
            return f"{name} is {seconds}, expected 0 to {LONGEST_S:g} s"
    return ""


def link_fault(uplink_bps: float, rtt_s: float, loss_ratio: float, spread: float) -> str:
    """What is wrong with a link's state; NaN is an unknown rate or round trip."""
    if not (math.isnan(uplink_bps) or 0 <= uplink_bps <= FASTEST_BPS):
        return f"uplink_bps is {uplink_bps}, expected 0 to {FASTEST_BPS:g}"
    if not (math.isnan(rtt_s) or _is_duration(rtt_s)):
        return f"rtt_s is {rtt_s}, expected 0 to {LONGEST_S:g}"
    if not 0 <= loss_ratio <= 1:
        return f"loss_ratio is {loss_ratio}, expected 0 to 1"
    if not spread >= 0:
        return f"uplink_spread is {spread}, expected 0 or more"
    return ""


def load_fault(cpu_ratio: float, memory_ratio: float, battery_ratio: float) -> str:
    """What is wrong with the shares of a machine; without a battery its share is NaN."""
    for name, value in (("cpu_ratio", cpu_ratio), ("memory_ratio", memory_ratio)):
        if math.isnan(share(value)):
            return f"{name} is {value}, expected 0 to 1"
    if math.isnan(share(battery_ratio)) and not math.isnan(battery_ratio):
        return f"battery_ratio is {battery_ratio}, expected 0 to 1, or NaN"
    return ""


def share(value: float) -> float:
    """A share, 0 to 1; NaN if it is invalid."""
    return min(max(value, 0.0), 1.0) if -_EXCESS <= value <= 1 + _EXCESS else math.nan


def slowdown(value: float) -> float:
    """Measured over profiled seconds, at most ``MOST_SLOWDOWN``; NaN if invalid."""
    return min(value, MOST_SLOWDOWN) if 0 < value < math.inf else math.nan


def _is_duration(seconds: float) -> bool:
    return 0 <= seconds <= LONGEST_S


def _size_fault(n_bytes: int) -> str:
    return "" if 0 <= n_bytes <= MOST_BYTES else f"{n_bytes} bytes, expected 0 to {MOST_BYTES}"
