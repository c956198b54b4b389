"""When to probe the link and with how many bytes, within a small budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dapdee_ros.estimation.link import LinkEstimate


@dataclass(frozen=True)
class ProbeSettings:
    """Parameters of ``ProbeSchedule``; ours.

    Attributes:
        share: maximum share of the link's rate for probes, 0.001 to 0.1.
        most_bytes_per_s: maximum for probes at any rate, 100 to 1e5.
        slowest_bps: the least rate that the budget assumes, also while the link's is unknown or it
            is dead, 1e4 to 1e7. An estimate that is far too low would otherwise leave nothing to
            correct it with.
        overhead_bytes: what headers add to every probe on the wire, 0 to 2000.
        interval_s: least time between probes, 0.05 to 5.
        quiet_s: frames answered within this time make probes unnecessary, 0.1 to 5.
        confirm_s: even then what is in doubt for so long is measured, 0.05 to 1.
        tentative_s: a rate that rests on one measurement is measured again after this time, and
            after twice as long every further time, 0.05 to 5.
        dispute_s: least time between probes that settle whether frames or the last large probe
            are right, 0.5 to 60.
        refresh_s: even then one probe in this time renews the round-trip floor, 1 to 600.
        measuring_s: a large probe should take so long on the link, 0.002 to 0.2.
        least_bytes: smallest padding that measures the rate, 100 to 5000.
        most_bytes: largest padding, ``least_bytes`` to 60,000 (one UDP datagram).
    """

    share: float = 0.02
    most_bytes_per_s: float = 2000.0
    slowest_bps: float = 0.13e6
    overhead_bytes: int = 120
    interval_s: float = 0.5
    quiet_s: float = 0.4
    confirm_s: float = 0.15
    tentative_s: float = 0.25
    dispute_s: float = 10.0
    refresh_s: float = 10.0
    measuring_s: float = 0.03
    least_bytes: int = 600
    most_bytes: int = 5000


class ProbeSchedule:
    """Decides, on frequent calls, whether a probe is due and how long its padding is.

    - While frames are answered they serve as probes; one small probe per ``refresh_s``, and a few
    after every interruption, refresh the round-trip floor, which frames cannot separate from their
    own transfer time. If frames are too short to measure the rate, every other probe is large.
    - Otherwise small probes show that the link is up, with at most 40 % of the budget, so that the
    rest pays for an occasional large one, which measures the rate.
    - A measurement that differs from the estimate needs confirmation: a probe is sent at once, if
    necessary on credit of up to 4 s of the budget. So do frames that differ from the last large
    probe: only another one can say whether the link or a process has become slow.
    - While frames are answered a rate that rests on one measurement is measured again until another
    one confirms it: frames of a car that waits for its processor say nothing.
    - While the link is down, only small ones, so that the first echo arrives soon after it is back.

    The budget is a token bucket: ``share`` of the estimated rate or ``most_bytes_per_s``,
    whichever is smaller, saved for at most 4 s.
    """

    _SMALL_SHARE = 0.4
    _SAVING_S = 4.0
    _RENEWALS = 3

    def __init__(self, settings: ProbeSettings | None = None) -> None:
        self.settings = settings or ProbeSettings()
        self._asked_s = math.nan
        self._tokens_bytes = 0.0
        self._frame_s = -math.inf
        self._probe_s = self._settled_s = -math.inf
        self._was_connected = False
        self._renewals = 0
        self._large_next = False
        self._tentative_from_s = math.nan
        self._small_next = False
        self._tentative_wait_s = self.settings.tentative_s

    def on_answer(self, arrived_s: float) -> None:
        """A frame was answered then."""
        self._frame_s = max(self._frame_s, arrived_s)

    def budget_bytes_per_s(self, estimate: LinkEstimate) -> float:
        """The probes' budget on a link in this state."""
        s = self.settings
        known = estimate.connected and math.isfinite(estimate.uplink_bps)
        # The rate that was observed to pass counts before the estimate has followed; otherwise an
        # estimate that is far too low would leave no budget to correct it.
        found_bps = max(estimate.uplink_bps, estimate.at_least_bps) if known else 0.0
        rate = max(found_bps, s.slowest_bps)
        return min(s.most_bytes_per_s, s.share * rate / 8)

    def due(self, now_s: float, estimate: LinkEstimate) -> int | None:
        """Padding in bytes of the probe to send now, None for no probe.

        The returned probe counts as sent.
        """
        s = self.settings
        budget = self.budget_bytes_per_s(estimate)
        self._save(now_s, budget)
        since_s = now_s - self._probe_s
        if estimate.connected and not self._was_connected:
            self._renewals = self._RENEWALS
        self._was_connected = estimate.connected
        large = self._large(estimate, budget)
        # What is said to have been answered later than now does not count for longer.
        self._frame_s = min(self._frame_s, now_s)
        answering = now_s - self._frame_s < s.quiet_s
        # What raised the doubt came after the last probe was sent, so that one is answered. Where
        # frames follow each other closely the next one decides as well.
        patience_s = s.confirm_s if answering else 0.0
        confirming = estimate.connected and patience_s <= estimate.doubt_age_s < since_s
        if answering and self._is_to_be_confirmed(now_s, estimate):
            # The round trip may be as new, and what is above it measures the rate.
            self._small_next = not self._small_next
            return self._send(now_s, 0 if self._small_next else large, self._SAVING_S * budget)
        if (
            estimate.connected
            and s.confirm_s <= estimate.dispute_age_s < math.inf
            and now_s - self._settled_s >= s.dispute_s
        ):
            # One more than those that are due anyway.
            self._settled_s, probe_s = now_s, self._probe_s
            padding_bytes = self._send(
                now_s, min(large, 2 * s.least_bytes), self._SAVING_S * budget
            )
            self._probe_s = probe_s
            return padding_bytes
        if answering and not confirming:
            if self._renewals and since_s >= s.interval_s:
                self._renewals -= 1
                return self._send(now_s, 0)
            if since_s < s.refresh_s:
                return None
            # Frames too short to measure the rate let the estimate age.
            self._large_next = not self._large_next and estimate.age_s > s.refresh_s / 2
            return self._send(now_s, large if self._large_next else 0)
        if confirming:
            return self._send(now_s, large, self._SAVING_S * budget)
        if since_s < s.interval_s:
            return None
        if not estimate.connected:
            return self._send(now_s, 0)
        if estimate.age_s > s.interval_s and self._tokens_bytes >= large + s.overhead_bytes:
            return self._send(now_s, large)
        if since_s >= s.overhead_bytes / (self._SMALL_SHARE * budget):
            return self._send(now_s, 0)
        return None

    def _is_to_be_confirmed(self, now_s: float, estimate: LinkEstimate) -> bool:
        """Whether the rate still rests on one measurement, and it is time for another one."""
        s = self.settings
        if not (estimate.connected and estimate.is_tentative):
            self._tentative_from_s, self._tentative_wait_s = math.nan, s.tentative_s
            self._small_next = False
            return False
        if math.isnan(self._tentative_from_s):
            self._tentative_from_s = now_s
        if now_s - self._tentative_from_s < self._tentative_wait_s:
            return False
        self._tentative_from_s = now_s
        if self._small_next:
            self._tentative_wait_s = min(2 * self._tentative_wait_s, s.dispute_s)
        return True

    def _save(self, now_s: float, budget: float) -> None:
        s = self.settings
        # The first large probe may follow the first echo at once; less could never pay for one.
        most = max(self._SAVING_S * budget, s.least_bytes + 2.0 * s.overhead_bytes)
        if math.isfinite(self._asked_s):
            earned = budget * max(0.0, now_s - self._asked_s)
            self._tokens_bytes = min(self._tokens_bytes + earned, most)
        else:
            self._tokens_bytes = most
        self._asked_s = now_s

    def _large(self, estimate: LinkEstimate, budget: float) -> int:
        """Padding that takes long enough on the link to be measured, if the budget allows it."""
        s = self.settings
        wanted = s.least_bytes
        if math.isfinite(estimate.uplink_bps):
            wanted = int(estimate.uplink_bps * s.measuring_s / 8)
        affordable = int(self._SAVING_S * budget) - s.overhead_bytes
        return max(s.least_bytes, min(wanted, s.most_bytes, affordable))

    def _send(self, now_s: float, padding_bytes: int, credit_bytes: float = 0.0) -> int | None:
        cost = padding_bytes + self.settings.overhead_bytes
        if cost > self._tokens_bytes + credit_bytes:
            return None
        self._tokens_bytes -= cost
        self._probe_s = now_s
        return padding_bytes
