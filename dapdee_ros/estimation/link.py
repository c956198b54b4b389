"""Estimates a link's rate, round trip and connectivity from answered messages."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable

from dapdee_ros.estimation.credible import FASTEST_BPS, LONGEST_S, MOST_BYTES
from dapdee_ros.estimation.frame_delay import FrameDelay
from dapdee_ros.estimation.link_settings import LinkEstimate, LinkSettings
from dapdee_ros.estimation.log_filter import LogFilter
from dapdee_ros.estimation.round_trip import Outstanding, RoundTrips, Sent

__all__ = ["LinkEstimate", "LinkEstimator", "LinkSettings"]

_MOST_NOISE_S = 0.05
_RARE_S = 1.0
_NOTABLE_LIFT, _MOST_LIFT = 2.0, 4.0
_SURPRISE, _OLD_S = 4.0, 3.0
_DISPUTED = 0.5
# Measurements that a rate has to rest on. That a shorter message took no time that could be
# measured confirms nothing: a longer one may.
_CONFIRMED, _TELLING_BYTES = 2, 4000


class LinkEstimator:
    """Tracks uplink rate, round-trip floor, loss and connectivity of one link.

    Every answered message of n bytes took R + 8·n / B over the link: its round trip minus its
    residence on the edge. Small messages measure R; all others give a sample of B. If a message had
    to wait for the previous one, its time counts from that one's arrival (packet-pair spacing), so
    that queueing does not look like a low rate. A time barely longer than R, relative to R's own
    scatter, is not a sample but a lower bound of B.

    B is tracked by a ``LogFilter``, which distinguishes steps from outliers; a sample's noise
    follows from its duration relative to the timing noise, so short messages have little weight.
    Where frames say that B is far below what a large probe has measured, another one has to
    confirm it; what they take beyond that is a delay of their own (``FrameDelay``), part of R.

    ``now_s`` is the caller's own clock, in seconds, and is trusted; calls from several threads need
    a lock. Nothing here reads a clock. Other details of an answer may come from outside: one that
    arrived in the future or minutes ago, took no time or has no size is ignored, so that no single
    report outlasts the next true ones.
    """

    def __init__(self, settings: LinkSettings | None = None) -> None:
        self.settings = settings or LinkSettings()
        s = self.settings
        self._rate = LogFilter(s.rate_drift, s.change_floor, s.change_sigmas)
        self._round_trips = RoundTrips(s.floor_window_s)
        self._outstanding = Outstanding()
        self._outcomes: deque[bool] = deque(maxlen=50)
        self._heard_bps = math.nan
        self._heard_s = -math.inf
        self._arrived_s = -math.inf
        self._revived_s = -math.inf
        self._residence_s = 0.0
        self._measurements = 0
        self._confirming = 0
        self._is_makeshift = self._is_guess = False
        self._unanswered = 0
        self._late_bps = 0.0
        self._measured_s = -math.inf
        self._doubted_s = -math.inf
        self._at_least_bps = 0.0
        self._alive = False
        self._frame_delay = FrameDelay(2 * s.timing_noise_s)
        self._probed_bps = math.nan
        self._disputed_s = math.inf

    def on_sent(self, now_s: float, sent_bytes: int, key: Hashable) -> None:
        """Something was sent that should be answered; ``key`` is given again with the answer."""
        self._outstanding.add(key, now_s, sent_bytes + self.settings.overhead_bytes)

    def on_probe(
        self,
        now_s: float,
        rtt_s: float,
        sent_bytes: int = 0,
        key: Hashable | None = None,
        *,
        arrived_s: float | None = None,
        cpu_wait_s: float = math.nan,
    ) -> None:
        """A probe's echo arrived.

        Args:
            now_s: the time.
            rtt_s: from its sending to its arrival.
            sent_bytes: its size; the large ones measure the rate as well.
            key: as given to ``on_sent``, if it was.
            arrived_s: when it arrived, if not just now.
            cpu_wait_s: as for ``on_transfer``.
        """
        measured_s = self._measured_s
        self._answered(now_s, arrived_s, sent_bytes, rtt_s, 0.0, key, cpu_wait_s)
        self._heard_bps = self._rate.value
        if self._measured_s > measured_s:
            if math.isfinite(self._disputed_s):
                # Whatever delays a message, its bytes took no longer than all of it.
                spare_s = max(rtt_s - self._least_rtt(), self.settings.timing_noise_s)
                n_bytes = sent_bytes + self.settings.overhead_bytes
                self._rate.lift(now_s, 8 * n_bytes / spare_s)
            self._probed_bps, self._disputed_s = self._rate.value, math.inf
            self._frame_delay.on_probe(now_s, self._rate.value)

    def on_transfer(
        self,
        now_s: float,
        sent_bytes: int,
        transfer_s: float,
        residence_s: float = 0.0,
        key: Hashable | None = None,
        *,
        arrived_s: float | None = None,
        cpu_wait_s: float = math.nan,
    ) -> None:
        """A frame's answer arrived.

        Args:
            now_s: the time.
            sent_bytes: how many bytes the frame took on the way to the edge.
            transfer_s: its round trip minus its residence on the edge.
            residence_s: that residence; distinguishes frames that queued behind each other.
            key: as given to ``on_sent``, if it was.
            arrived_s: when it arrived, if not just now.
            cpu_wait_s: of ``transfer_s``, at most how much was spent waiting for a processor, not
                for the link; NaN if that is not known.
        """
        self._answered(
            now_s, arrived_s, sent_bytes, transfer_s, residence_s, key, cpu_wait_s, is_frame=True
        )
        self._heard_bps = self._rate.value
        is_slower = not self._rate.value >= _DISPUTED * self._probed_bps  # NaN before the first
        if is_slower and self._frame_delay.can_tell(now_s):
            self._disputed_s = min(self._disputed_s, now_s)

    def on_unanswered(
        self, now_s: float, sent_bytes: int, waited_s: float, key: Hashable | None = None
    ) -> None:
        """A frame got no answer within ``waited_s``: the link is slower than that, or down."""
        if not (0 <= waited_s <= LONGEST_S and 0 <= sent_bytes <= MOST_BYTES):
            return
        n_bytes = sent_bytes + self.settings.overhead_bytes
        self._unanswered += 1
        self._outcomes.append(False)
        self._outstanding.give_up(key, now_s - waited_s, n_bytes)
        waiting = self._outstanding.waiting()
        if not waiting or not self._rate.is_known:
            return
        # The oldest has the link first. Its last byte has not arrived before now, or it was lost:
        # at best so fast.
        first = waiting[0]
        spent_s = now_s - max(first.sent_s, self._arrived_s) - self._usual_rtt() - self._residence_s
        if first.n_bytes < self.settings.least_bytes or spent_s <= 0:
            return
        limit = max(8 * first.n_bytes / spent_s, self.settings.slowest_bps)
        # One alone may have been lost on a good link; two in a row are believed, also if one of
        # them is only overdue or was answered very late.
        alone = (
            self._unanswered == 1
            and not self._rate.may_be_lower
            and not any(self._is_overdue(sent, now_s) for sent in waiting if not sent.given_up)
        )
        self._rate.lower(limit, share=0.5 if alone else 1.0)

    def estimate(self, now_s: float) -> LinkEstimate:
        """The state of the link as of now."""
        s = self.settings
        self._judge_silence(now_s)
        self._frame_delay.forget_if_old(now_s)
        lost = self._outstanding.expire(now_s - s.longest_silence_s - s.silence_s)
        self._outcomes.extend([False] * lost)
        return LinkEstimate(
            uplink_bps=self._overdue_rate(now_s),
            rtt_s=self._round_trips.usual_s(self._rate.value) + self._frame_delay.seconds,
            loss_ratio=self._outcomes.count(False) / max(1, len(self._outcomes)),
            connected=self._alive,
            age_s=self._rate.age_s(now_s),
            relative_spread=self._rate.relative_spread(now_s),
            measurements=self._measurements,
            doubt_age_s=now_s - self._doubted_s,
            dispute_age_s=now_s - self._disputed_s if math.isfinite(self._disputed_s) else math.inf,
            at_least_bps=self._at_least_bps,
            is_tentative=self._rate.is_known
            and (self._is_makeshift or self._confirming < _CONFIRMED),
        )

    def _usual_rtt(self) -> float:
        return self._round_trips.usual_s(self._rate.value) if self._round_trips.is_known else 0.0

    def _least_rtt(self) -> float:
        return self._round_trips.floor_s(self._rate.value) if self._round_trips.is_known else 0.0

    def _is_surprisingly_quick(self, spent_s: float) -> bool:
        if not self._round_trips.is_known:
            return False
        quickest_s = self._round_trips.quickest_s
        return spent_s < min(0.5 * quickest_s, quickest_s - _SURPRISE * self._timing_noise())

    def _timing_noise(self) -> float:
        jitter_s = self._usual_rtt() - self._least_rtt()
        return min(max(jitter_s, self.settings.timing_noise_s), _MOST_NOISE_S)

    def _answered(
        self,
        true_now_s: float,
        reported_s: float | None,
        sent_bytes: int,
        spent_s: float,
        residence_s: float,
        key: Hashable | None,
        cpu_wait_s: float,
        is_frame: bool = False,
    ) -> None:
        s = self.settings
        now_s = true_now_s if reported_s is None else reported_s
        if not (true_now_s - LONGEST_S <= now_s <= true_now_s and 0 <= sent_bytes <= MOST_BYTES):
            return
        if not self._alive:
            self._alive = True
            self._revived_s = now_s
            if now_s - self._heard_s > s.longest_silence_s and math.isfinite(self._heard_bps):
                # An outage says nothing about the rate after it. The last known rate is the best
                # guess, with high uncertainty. Where silence followed such a guess before anything
                # confirmed it, frames sent by it were too large for the link, so halfway.
                guess_bps = self._heard_bps
                if self._is_guess and self._rate.value < guess_bps:
                    guess_bps = math.sqrt(guess_bps * self._rate.value)
                self._rate.guess(now_s, guess_bps)
                self._confirming, self._is_guess = 0, True
        self._heard_s = now_s
        self._outcomes.append(True)
        self._unanswered = 0
        # A peer whose residence exceeds the round trip is connected, but its figures are
        # meaningless.
        sound = 0 < spent_s <= LONGEST_S and 0 <= residence_s <= LONGEST_S
        arrived_s = now_s - residence_s
        sent_s = arrived_s - spent_s
        if self._outstanding.answer(key, sent_s if sound else -math.inf):
            self._take_back_loss()
        if not sound:
            return
        usual_s = min(residence_s, s.longest_silence_s)
        self._residence_s += 0.2 * (usual_s - self._residence_s) if usual_s else 0.0
        n_bytes = sent_bytes + s.overhead_bytes
        waited_out_a_silence = sent_s < self._revived_s
        # What the car waited for its processor is the link's as little as a queue is.
        waited_here = self._timing_noise() < cpu_wait_s < math.inf
        if sent_bytes < s.least_bytes:
            # Behind a frame or during an outage it says nothing about an idle link, unless it was
            # fast anyway.
            queued = sent_s + self._usual_rtt() < self._arrived_s or waited_out_a_silence
            if (queued or waited_here) and self._round_trips.is_known:
                self._round_trips.cap(spent_s)
            else:
                if self._is_surprisingly_quick(spent_s):
                    # A large message has to measure how fast the link has become.
                    self._doubted_s = now_s
                    quick_bps = min(8 * n_bytes / spent_s, FASTEST_BPS)
                    self._at_least_bps = max(self._at_least_bps, quick_bps)
                self._round_trips.add(now_s, spent_s, 8.0 * n_bytes, waited_here)
            return
        self._round_trips.cap(spent_s)
        self._round_trips.discard(sent_s, arrived_s - self._usual_rtt())
        # Messages that arrived together waited for the same thing, such as a retransmission: only
        # the first counts.
        free_s = max(sent_s + self._usual_rtt(), min(self._arrived_s, arrived_s))
        self._arrived_s = max(self._arrived_s, arrived_s)
        # A short silence may be a slow link; a longer one was an outage, and messages queued in it
        # say nothing about the rate after it.
        if free_s < self._revived_s - s.longest_silence_s and self._rate.is_known:
            return
        on_link_s = arrived_s - free_s
        if self._is_makeshift and not waited_here:
            self._rate.forget()
        if not self._rate.is_known:
            self._is_makeshift = waited_here or self._round_trips.is_makeshift
        if is_frame and self._rate.is_known:
            rate_bps = self._rate.value
            self._frame_delay.on_frame(now_s, on_link_s, n_bytes, rate_bps, cpu_wait_s)
        delay_s = self._delay_of(on_link_s, n_bytes, cpu_wait_s, is_frame)
        if math.isnan(delay_s):
            self._disputed_s = min(self._disputed_s, now_s)
            return
        self._measure(now_s, n_bytes, on_link_s - delay_s, spent_s - delay_s)
        self._measured_s = now_s

    def _delay_of(self, on_link_s: float, n_bytes: int, cpu_wait_s: float, is_frame: bool) -> float:
        """How much of a message's time was not its bytes' on the link.

        NaN where its bytes may have taken what they should, or anything else in that range.
        """
        if not 0 <= cpu_wait_s < math.inf:
            return self._frame_delay.seconds if is_frame else 0.0
        if cpu_wait_s <= self._timing_noise() or not self._rate.is_known:
            return 0.0
        # What was waited may have been waited beside the transfer, or beyond it.
        usual_s, least_s = 8 * n_bytes / self._rate.value, on_link_s - cpu_wait_s
        if least_s <= usual_s <= on_link_s:
            return math.nan
        return cpu_wait_s if usual_s < least_s else 0.0

    def _take_back_loss(self) -> None:
        """One of those counted as lost was refused or late, but it was answered."""
        for at in range(len(self._outcomes) - 1, -1, -1):
            if not self._outcomes[at]:
                del self._outcomes[at]
                return

    def _measure(self, now_s: float, n_bytes: int, on_link_s: float, spent_s: float) -> None:
        """Update the rate from a large message.

        Its expected time counts as well as the measured one: otherwise, of many messages too short
        to measure with, only the late ones would count and the link would look slow. So only two
        late ones in a row count against a fast link, unless they are so rare that waiting for the
        second takes too long.
        """
        s = self.settings
        self._doubted_s = -math.inf
        self._at_least_bps = 0.0
        timing_noise_s = self._timing_noise()
        usual_s = 8 * n_bytes / self._rate.value if self._rate.is_known else math.inf
        sample = max(8 * n_bytes / on_link_s, s.slowest_bps) if on_link_s > 0 else math.inf
        if on_link_s > 2 * timing_noise_s and usual_s > 4 * timing_noise_s:
            believed = [sample]
        elif on_link_s > usual_s + 4 * timing_noise_s:
            rare = now_s - self._measured_s > _RARE_S
            believed = [sample] if rare else [self._late_bps, sample] if self._late_bps else []
            self._late_bps = sample
            if not believed:
                self._doubted_s = now_s
        else:
            # Whatever delayed it, its bytes took no longer than all that it took beyond the floor.
            # In steps, since the floor may have been measured too high.
            self._late_bps = 0.0
            most_s = max(spent_s - self._least_rtt(), s.timing_noise_s)
            limit = max(8 * n_bytes / most_s, s.slowest_bps)
            if self._rate.is_known and limit > _NOTABLE_LIFT * self._rate.value:
                # How much faster a longer message may tell, which the new rate now pays for. An
                # estimate that is old has nothing to say against it.
                self._at_least_bps = limit
                if self._rate.age_s(now_s) < _OLD_S:
                    limit = min(limit, _MOST_LIFT * self._rate.value)
                self._doubted_s = now_s
            self._measurements += self._rate.lift(now_s, limit)
            self._confirming += n_bytes >= _TELLING_BYTES
            return
        noise = math.hypot(s.rate_noise, timing_noise_s / on_link_s, s.overhead_bytes / n_bytes / 2)
        for rate_bps in believed:
            self._rate.follow(now_s, rate_bps, noise)
            self._measurements += 1
            self._confirming += 1
            self._is_guess = False
        if self._rate.is_in_doubt:
            self._doubted_s = now_s

    def _judge_silence(self, now_s: float) -> None:
        waiting = self._outstanding.waiting()
        if not waiting:
            return
        s = self.settings
        allowed_s = s.silence_s
        if math.isfinite(self._heard_bps):
            # At the rate of when it was last heard: silence lowers the estimate, and must not
            # thereby excuse itself.
            n_bytes = sum(sent.n_bytes for sent in waiting)
            allowed_s += 2 * (self._usual_rtt() + 8 * n_bytes / self._heard_bps)
        silent_s = now_s - max(self._heard_s, waiting[0].sent_s)
        if silent_s > min(allowed_s, s.longest_silence_s):
            self._alive = False

    def _overdue_rate(self, now_s: float) -> float:
        """The rate, reduced according to a frame that is still unanswered."""
        rate = self._rate.value
        s = self.settings
        for sent in self._outstanding.waiting():
            if sent.n_bytes < s.least_bytes or sent.given_up:
                continue
            if self._is_overdue(sent, now_s):
                return max(8 * sent.n_bytes / self._waited_s(sent, now_s), s.slowest_bps)
            break
        return rate

    def _waited_s(self, sent: Sent, now_s: float) -> float:
        """How long it has had the link to itself, if all before it has arrived."""
        since_s = max(sent.sent_s, self._arrived_s)
        return now_s - since_s - self._usual_rtt() - self._residence_s

    def _is_overdue(self, sent: Sent, now_s: float) -> bool:
        usual_s = 8 * sent.n_bytes / self._rate.value
        late_s = 1.5 * usual_s + self._residence_s + 10 * self.settings.timing_noise_s
        return self._waited_s(sent, now_s) > late_s
