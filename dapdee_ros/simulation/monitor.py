"""The link monitor in a simulation: the same estimator and probes as the node's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from dapdee_ros.core.frames import FrameResult, Place
from dapdee_ros.core.head_events import Unused
from dapdee_ros.estimation.link import LinkEstimate, LinkEstimator
from dapdee_ros.estimation.probes import ProbeSchedule
from dapdee_ros.simulation.agenda import Agenda

CHECK_PERIOD_S = 0.2
PUBLISH_PERIOD_S = 1.0
FRAME_HEADER_BYTES = 250
"""As the node takes it; the periods are its parameters' defaults."""

_ANSWERS_REMEMBERED = 64
_LEAST_RATE_CHANGE = 0.05
_LEAST_RTT_CHANGE = 0.2


class SimulatedMonitor:
    """Learns from results, refused answers and probe echoes; publishes what is new."""

    def __init__(
        self,
        agenda: Agenda,
        probe: Callable[[int, float, int], None],
        publish: Callable[[LinkEstimate], None],
    ) -> None:
        """Prepare.

        Args:
            agenda: the clock.
            probe: sends a probe: its sequence, when, and its padding in bytes.
            publish: receives the link's state.
        """
        self._agenda = agenda
        self._probe = probe
        self._tell = publish
        self._estimator = LinkEstimator()
        self._schedule = ProbeSchedule()
        self._sequence = 0
        self._answered: deque[int] = deque(maxlen=_ANSWERS_REMEMBERED)
        self._last: LinkEstimate | None = None
        self._published_s = -math.inf

    def check(self) -> None:
        """Look whether a probe is due: every ``CHECK_PERIOD_S``, and after every echo."""
        now_s = self._agenda.now_s
        padding = self._schedule.due(now_s, self._estimator.estimate(now_s))
        if padding is not None:
            self._sequence += 1
            self._estimator.on_sent(now_s, padding, ("probe", self._sequence))
            self._probe(self._sequence, now_s, padding)
        self._publish()

    def take_echo(self, sequence: int, sent_s: float, padding_bytes: int) -> None:
        """A probe came back."""
        now_s = self._agenda.now_s
        self._estimator.on_probe(now_s, now_s - sent_s, padding_bytes, ("probe", sequence))
        # As the node: what it leaves in doubt is measured again at once.
        self.check()

    def take_result(self, result: FrameResult) -> None:
        """Learn from a result: how long its tensors took, or that no answer came."""
        now_s = self._agenda.now_s
        if result.place is Place.EDGE:
            self._note(result.number, result.sent_bytes, result.transfer_s, result.residence_s)
            return
        if not result.sent_bytes or result.number in self._answered:
            return
        self._estimator.on_unanswered(
            now_s,
            result.sent_bytes + FRAME_HEADER_BYTES,
            now_s - result.sent_s,
            result.number,
        )
        self._publish()

    def take_unused(self, unused: Unused) -> None:
        """Learn from an answer that came too late, or that refused its frame."""
        answer, now_s = unused.answer, self._agenda.now_s
        self._answered.append(answer.number)
        transfer_s = now_s - unused.sent_s - answer.residence_s
        self._note(answer.number, unused.sent_bytes, transfer_s, answer.residence_s)

    def _note(self, number: int, sent_bytes: float, transfer_s: float, residence_s: float) -> None:
        now_s = self._agenda.now_s
        self._schedule.on_answer(now_s)
        self._estimator.on_transfer(
            now_s, round(sent_bytes) + FRAME_HEADER_BYTES, transfer_s, residence_s, number
        )
        self._publish()

    def _publish(self) -> None:
        """Publish the estimate if it says anything new."""
        now_s = self._agenda.now_s
        new, old = self._estimator.estimate(now_s), self._last
        if (
            old is not None
            and now_s - self._published_s < PUBLISH_PERIOD_S
            and new.connected == old.connected
            and not _differs(new.uplink_bps, old.uplink_bps, _LEAST_RATE_CHANGE)
            and not _differs(new.rtt_s, old.rtt_s, _LEAST_RTT_CHANGE)
        ):
            return
        self._last, self._published_s = new, now_s
        self._tell(new)


def _differs(new: float, old: float, least: float) -> bool:
    if math.isnan(new) or math.isnan(old):
        return math.isnan(new) != math.isnan(old)
    return abs(new - old) > least * abs(old)
