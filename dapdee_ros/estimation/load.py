"""The load score: one number from 0 to 1 for the load of the whole car."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dapdee_ros.estimation.change import ChangeDetector
from dapdee_ros.estimation.credible import link_fault, share
from dapdee_ros.estimation.load_settings import INDICATORS, LoadSettings

_PARTS = {
    "head": ("cpu", "memory"),
    "transfer": ("uplink", "delay"),
    "latency": ("deadline",),
}
_FEEDBACK_GAIN = 0.1


@dataclass(frozen=True)
class LoadEstimate:
    """The load at one time.

    Attributes:
        score: 0 (idle) to 1; 0 while nothing is known.
        heavy: whether that counts as heavy; switches with hysteresis around the threshold.
        indicators: what is known of the indicators, smoothed, 0 to 1 with 1 = loaded.
        weights: of the known indicators, adding up to 1.
        recomputed_s: when the weights were last recomputed; -inf if they are the base weights.
        cause: the indicator whose jump did that, empty for none.
    """

    score: float
    heavy: bool
    indicators: Mapping[str, float]
    weights: Mapping[str, float]
    recomputed_s: float
    cause: str


class _Indicator:
    """One smoothed indicator and the record of its changes."""

    def __init__(self, settings: LoadSettings) -> None:
        self.value = math.nan
        self.heard_s = -math.inf
        self.deviations = 0.0
        self._settings = settings
        self._changes = ChangeDetector(settings.change_floor, settings.change_sigmas)

    def take(self, now_s: float, level: float) -> bool:
        """Take a level into account; returns whether it was a significant change."""
        s = self._settings
        fresh = math.isnan(self.value) or now_s - self.heard_s > s.stale_s
        if fresh:
            self.value, self.heard_s, self.deviations = level, now_s, 0.0
            return False
        change = level - self.value
        significant = self._changes.is_significant(change)
        if significant:
            # A jump takes effect at once: smoothing is for noise.
            self.value = level
        elif s.smoothing_s > 0:
            elapsed_s = max(0.0, now_s - self.heard_s)
            self.value += (1 - math.exp(-elapsed_s / s.smoothing_s)) * change
        else:
            self.value = level
        # Only increasing load increases a weight.
        raised = self._changes.deviations(change) if change > 0 else 0.0
        self.deviations = min(raised, s.most_deviations)
        self._changes.remember(change)
        self.heard_s = now_s
        return significant


class LoadEstimator:
    """Weighs six indicators into one score, after DAPDEE (design: dynamic weights).

    Each measurement is mapped to 0..1 (1 = loaded) and smoothed. The score is the weighted mean of
    what is known. When an indicator moves by more than the mean plus two standard deviations of
    its recent changes, all weights are recomputed as base weight · (1 + the indicator's positive
    deviation, in standard deviations); they hold until the next such change or until ``memory_s``
    has passed.

    Feedback: if frames take longer than predicted, the load is higher than the plan assumed, and
        the indicators of that part get more weight: the car's by the head's time over its
        prediction, the link's by the transfer's, the deadline's by the whole latency's. The paper
        mentions the feedback without a formula; this one is ours.

    Times are the caller's, in seconds on one clock; NaN means not measured.
    """

    def __init__(self, settings: LoadSettings | None = None) -> None:
        self.settings = settings or LoadSettings()
        self._indicators = {name: _Indicator(self.settings) for name in INDICATORS}
        self._boost = dict.fromkeys(INDICATORS, 0.0)
        self._log_feedback = dict.fromkeys(_PARTS, 0.0)
        self._recomputed_s = -math.inf
        self._cause = ""
        self._heavy = False

    def on_machine(
        self, now_s: float, cpu_ratio: float, memory_ratio: float, battery_ratio: float = math.nan
    ) -> None:
        """The car's processor, memory and battery, each a share from 0 to 1.

        Invalid shares count as not measured.
        """
        free = self.settings.memory_free
        self._take(now_s, "cpu", share(cpu_ratio))
        self._take(now_s, "memory", (share(memory_ratio) - free) / (1 - free))
        self._take(now_s, "battery", 1 - share(battery_ratio))

    def on_link(self, now_s: float, uplink_bps: float, rtt_s: float, connected: bool) -> None:
        """The link's rate and round trip; a link that is down is fully loaded."""
        s = self.settings
        if not connected:
            uplink = delay = 1.0
        elif link_fault(uplink_bps, rtt_s, 0.0, 0.0):
            return
        else:
            span = math.log(s.fast_bps / s.slow_bps)
            # The order matters to max: NaN has to stay NaN.
            uplink = 1 - (math.log(max(uplink_bps, 1.0)) - math.log(s.slow_bps)) / span
            delay = rtt_s / s.longest_delay_s
        self._take(now_s, "uplink", uplink)
        self._take(now_s, "delay", delay)

    def on_frame(
        self,
        now_s: float,
        latency_s: float,
        deadline_s: float,
        *,
        predicted_latency_s: float = math.nan,
        head_s: float = math.nan,
        predicted_head_s: float = math.nan,
        transfer_s: float = math.nan,
        predicted_transfer_s: float = math.nan,
    ) -> None:
        """A frame's measured seconds, its deadline, and the plan's prediction."""
        free = self.settings.free_deadline
        if deadline_s > 0 and 0 <= latency_s < math.inf:
            self._take(now_s, "deadline", (latency_s / deadline_s - free) / (1 - free))
        for part, measured_s, predicted_s in (
            ("latency", latency_s, predicted_latency_s),
            ("head", head_s, predicted_head_s),
            ("transfer", transfer_s, predicted_transfer_s),
        ):
            if 0 < measured_s < math.inf and 0 < predicted_s < math.inf:
                most = math.log(self.settings.most_feedback)
                ratio = min(max(math.log(measured_s) - math.log(predicted_s), -most), most)
                self._log_feedback[part] += _FEEDBACK_GAIN * (ratio - self._log_feedback[part])

    def estimate(self, now_s: float) -> LoadEstimate:
        """The current score with its inputs."""
        s = self.settings
        known = {
            name: indicator.value
            for name, indicator in self._indicators.items()
            if now_s - indicator.heard_s <= s.stale_s
        }
        weights = self._weights(now_s, known)
        score = sum(weights[name] * value for name, value in known.items())
        score = min(max(score, 0.0), 1.0)
        limit = s.threshold - s.hysteresis if self._heavy else s.threshold + s.hysteresis
        self._heavy = score >= limit
        return LoadEstimate(score, self._heavy, known, weights, self._recomputed_s, self._cause)

    def _weights(self, now_s: float, known: Mapping[str, float]) -> dict[str, float]:
        if now_s - self._recomputed_s > self.settings.memory_s:
            self._boost = dict.fromkeys(INDICATORS, 0.0)
            self._recomputed_s, self._cause = -math.inf, ""
        raw = {n: self.settings.base_weights[n] * (1 + self._boost[n]) for n in known}
        for part, names in _PARTS.items():
            for name in names:
                if name in raw:
                    raw[name] *= math.exp(self._log_feedback[part])
        total = sum(raw.values())
        return {name: weight / total if total else 0.0 for name, weight in raw.items()}

    def _take(self, now_s: float, name: str, level: float) -> None:
        if math.isnan(level):
            return
        if self._indicators[name].take(now_s, min(max(level, 0.0), 1.0)):
            self._boost = {n: i.deviations for n, i in self._indicators.items()}
            self._recomputed_s, self._cause = now_s, name
