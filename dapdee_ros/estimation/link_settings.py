"""The link estimator's output and parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LinkEstimate:
    """The estimate of the link at one time.

    Attributes:
        uplink_bps: rate from the car to the edge, bit/s; NaN until something was measured.
        rtt_s: typical round-trip time of an empty message, seconds; NaN until something was
            measured.
        loss_ratio: share of recent messages that got no answer, 0..1.
        connected: the edge has answered, and not been silent for too long since.
        age_s: seconds since the last measurement of the rate; infinite before the first.
        relative_spread: relative standard deviation of ``uplink_bps``; infinite before the first
            measurement; grows with age.
        measurements: how many measurements of the rate went into it.
        doubt_age_s: seconds since a measurement that the rate did not follow as far as it says,
            because one alone may be wrong; infinite if the last one was in line.
        dispute_age_s: seconds since frames said otherwise than the last large probe; infinite if
            they do not.
        at_least_bps: the rate that such a measurement says the link has at least, bit/s; 0 if the
            last one was in line or says otherwise.
        is_tentative: the rate rests on one measurement, or on what it was before an outage; another
            one has to confirm it.
    """

    uplink_bps: float
    rtt_s: float
    loss_ratio: float
    connected: bool
    age_s: float
    relative_spread: float
    measurements: int
    doubt_age_s: float = math.inf
    dispute_age_s: float = math.inf
    at_least_bps: float = 0.0
    is_tentative: bool = False


@dataclass(frozen=True)
class LinkSettings:
    """Parameters of ``LinkEstimator``; ours, tuned on ``bench/link_estimator.py``.

    Attributes:
        overhead_bytes: what headers add to every message on the wire, 0 to 2000.
        timing_noise_s: least noise of a transfer's measured time, 1e-4 to 0.05; the median of
            recent small round trips above their floor counts if it is larger. A message that
            takes no longer than twice the noise tells only that the link is at least so fast.
        least_bytes: smaller messages say nothing about the rate, only about the floor, 100 to
            5000: a small one that stood behind a frame would look like a very slow link.
        rate_noise: relative deviation of one message's rate from the link's, 0.01 to 1.
        rate_drift: relative change of the rate in one second (standard deviation), 0.01 to 2.
        change_floor: smallest relative change that may count as a step, 0.05 to 1.
        change_sigmas: standard deviations beyond the mean that make a step, 1 to 5.
        silence_s: silence after which the link counts as dead, on top of twice the time that what
            is on its way should take, 0.1 to 10.
        longest_silence_s: bound on that sum, at least ``silence_s``, up to 30.
        floor_window_s: how long a round trip counts for the floor, 1 to 120.
        slowest_bps: the least rate that is ever reported, 100 to 1e5.
    """

    overhead_bytes: int = 120
    timing_noise_s: float = 0.002
    least_bytes: int = 500
    rate_noise: float = 0.2
    rate_drift: float = 0.3
    change_floor: float = 0.25
    change_sigmas: float = 2.0
    silence_s: float = 0.5
    longest_silence_s: float = 2.0
    floor_window_s: float = 10.0
    slowest_bps: float = 1000.0
