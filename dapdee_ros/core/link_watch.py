"""The rules for measuring the link: when to probe, what to learn from answers, what to publish.

No thread, no clock, no ROS: link monitor, simulator and replay of a bag are its drivers.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dapdee_ros.core.settings import check_settings, setting
from dapdee_ros.estimation.credible import transfer_fault, wait_fault
from dapdee_ros.estimation.link import LinkEstimate, LinkEstimator, LinkSettings
from dapdee_ros.estimation.probes import ProbeSchedule, ProbeSettings

FRAME_HEADER_BYTES = 250
"""What a HeadTensor takes beside its data: header, model id, one or two tensor specs."""

_ANSWERS_REMEMBERED = 64
PROBES_REMEMBERED = 64
# Less than this changes no plan, and every publication costs the whole car's side something.
_LEAST_RATE_CHANGE = 0.05
_LEAST_RTT_CHANGE = 0.2

FrameKey = tuple[int, int]
"""Which frame: the head's session, and its number."""


@dataclass(frozen=True)
class LinkWatchSettings:
    """How the link is watched.

    Raises:
        SettingError: at construction, for an invalid value.
    """

    silence_s: float = setting(
        LinkSettings.silence_s,
        "Silence after which the link counts as down, in seconds, in addition to twice the "
        "expected time of the messages in flight.",
        unit="s",
        bounds=(0.1, 10.0),
        note="silence after which the link counts as down",
    )
    check_period_s: float = setting(
        0.2,
        "Seconds between checks whether a probe is due or the link has gone silent.",
        unit="s",
        bounds=(0.02, 1.0),
        note="seconds between checks whether a probe is due",
    )
    probe_share: float = setting(
        ProbeSettings.share,
        "Maximum share of the link's rate for probes.",
        bounds=(0.001, 0.1),
        note="maximum share of the link's rate for probes",
    )
    probe_most_bytes_per_s: float = setting(
        ProbeSettings.most_bytes_per_s,
        "Maximum bytes per second for probes, at any rate.",
        unit="bytes/s",
        bounds=(100.0, 1e5),
        note="the same in bytes",
    )
    publish_period_s: float = setting(
        1.0,
        "Seconds after which the estimate is published even if it has not changed.",
        unit="s",
        bounds=(0.1, 60.0),
        note="seconds after which an unchanged estimate is published again",
    )

    def __post_init__(self) -> None:
        check_settings(self)


# --- events -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FrameAnswered:
    """The edge answered a frame in time.

    Attributes:
        frame: which one.
        sent_s: when it was sent.
        sent_bytes: its coded tensors.
        transfer_s: its round trip less its residence on the edge.
        residence_s: that residence.
        cpu_wait_s: of ``transfer_s``, at most how much the car waited for a processor; NaN if that
            is not known.
    """

    frame: FrameKey
    sent_s: float
    sent_bytes: int
    transfer_s: float
    residence_s: float
    cpu_wait_s: float = math.nan


@dataclass(frozen=True, slots=True)
class AnswerUnused:
    """An answer arrived (``arrived_s``) too late or refused its frame; as ``FrameAnswered``."""

    frame: FrameKey
    sent_s: float
    sent_bytes: int
    residence_s: float
    arrived_s: float
    cpu_wait_s: float = math.nan


@dataclass(frozen=True, slots=True)
class FrameEndedHere:
    """The car finished a frame; with 0 bytes none of it was sent."""

    frame: FrameKey
    sent_s: float
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class EchoCame:
    """The echo of a probe arrived.

    Attributes:
        sequence: which one.
        arrived_s: when.
        cpu_wait_s: as in ``FrameAnswered``.
    """

    sequence: int
    arrived_s: float
    cpu_wait_s: float = math.nan


@dataclass(frozen=True, slots=True)
class TimePassed:
    """``check_period_s`` is over."""


Event = FrameAnswered | AnswerUnused | FrameEndedHere | EchoCame | TimePassed


# --- actions ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendProbe:
    """Send the probe of a number, padded by so many bytes."""

    sequence: int
    padding_bytes: int


@dataclass(frozen=True, slots=True)
class PublishLink:
    """A new estimate of the link to publish."""

    estimate: LinkEstimate


@dataclass(frozen=True, slots=True)
class IgnoreReport:
    """An implausible report, with the reason as text; it had no effect."""

    reason: str


Action = SendProbe | PublishLink | IgnoreReport


class LinkWatch:
    """Learns from results, refused answers and probe echoes; publishes what is new.

    As little as possible is trusted: only an echo's number, and only once.
    """

    def __init__(self, settings: LinkWatchSettings | None = None) -> None:
        """Begin without knowledge."""
        self._settings = settings or LinkWatchSettings()
        s = self._settings
        self._estimator = LinkEstimator(LinkSettings(silence_s=s.silence_s))
        self._schedule = ProbeSchedule(
            ProbeSettings(share=s.probe_share, most_bytes_per_s=s.probe_most_bytes_per_s)
        )
        self._sequence = 0
        self._sent: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._answered: deque[FrameKey] = deque(maxlen=_ANSWERS_REMEMBERED)
        self._last: LinkEstimate | None = None
        self._published_s = -math.inf
        self._actions: list[Action] = []
        self._handlers: dict[type[Event], Callable[[float, Any], None]] = {
            FrameAnswered: self._on_answered,
            AnswerUnused: self._on_unused,
            FrameEndedHere: self._on_ended_here,
            EchoCame: self._on_echo,
            TimePassed: self._on_time,
        }

    def handle(self, now_s: float, event: Event) -> list[Action]:
        """Take an event and say what is to be done, in order.

        Args:
            now_s: when it happened; not before the last event.
            event: what happened.
        """
        self._actions = []
        self._handlers[type(event)](now_s, event)
        return self._actions

    def estimate(self, now_s: float) -> LinkEstimate:
        """What is believed of the link now."""
        return self._estimator.estimate(now_s)

    def _on_answered(self, now_s: float, event: FrameAnswered) -> None:
        self._note(now_s, event, event.transfer_s)

    def _on_unused(self, now_s: float, event: AnswerUnused) -> None:
        transfer_s = event.arrived_s - event.sent_s - event.residence_s
        if self._note(now_s, event, transfer_s):
            self._answered.append(event.frame)

    def _note(self, now_s: float, event: FrameAnswered | AnswerUnused, transfer_s: float) -> bool:
        """Learn from an answer; returns whether it can be."""
        sent_s, residence_s = event.sent_s, event.residence_s
        if fault := transfer_fault(now_s, sent_s, transfer_s, residence_s, event.sent_bytes):
            self._actions.append(IgnoreReport(f"answer: {fault}"))
            return False
        arrived_s = min(now_s, sent_s + transfer_s + residence_s)
        self._schedule.on_answer(arrived_s)
        self._estimator.on_transfer(
            now_s,
            event.sent_bytes + FRAME_HEADER_BYTES,
            transfer_s,
            residence_s,
            event.frame,
            arrived_s=arrived_s,
            cpu_wait_s=event.cpu_wait_s,
        )
        self._publish(now_s)
        return True

    def _on_ended_here(self, now_s: float, event: FrameEndedHere) -> None:
        if not event.sent_bytes or event.frame in self._answered:
            return  # nothing was sent, or the edge did answer, only not in time or with a refusal
        if fault := wait_fault(now_s, event.sent_s, event.sent_bytes):
            self._actions.append(IgnoreReport(f"result: {fault}"))
            return
        self._estimator.on_unanswered(
            now_s, event.sent_bytes + FRAME_HEADER_BYTES, now_s - event.sent_s, event.frame
        )
        self._publish(now_s)

    def _on_echo(self, now_s: float, event: EchoCame) -> None:
        # When the probe was sent, and how large it was, is known here.
        sent = self._sent.pop(event.sequence, None)
        if sent is None:
            return
        sent_s, padding_bytes = sent
        arrived_s = min(event.arrived_s, now_s)
        self._estimator.on_probe(
            now_s,
            arrived_s - sent_s,
            padding_bytes,
            ("probe", event.sequence),
            arrived_s=arrived_s,
            cpu_wait_s=event.cpu_wait_s,
        )
        # Not only published: doubtful measurements are repeated at once.
        self._check(now_s)

    def _on_time(self, now_s: float, event: TimePassed) -> None:
        self._check(now_s)

    def _check(self, now_s: float) -> None:
        padding_bytes = self._schedule.due(now_s, self._estimator.estimate(now_s))
        if padding_bytes is not None:
            self._sequence += 1
            self._estimator.on_sent(now_s, padding_bytes, ("probe", self._sequence))
            self._sent[self._sequence] = (now_s, padding_bytes)
            while len(self._sent) > PROBES_REMEMBERED:
                self._sent.popitem(last=False)
            self._actions.append(SendProbe(self._sequence, padding_bytes))
        self._publish(now_s)

    def _publish(self, now_s: float) -> None:
        """Publish the estimate if it has changed."""
        new, old = self._estimator.estimate(now_s), self._last
        if (
            old is not None
            and now_s - self._published_s < self._settings.publish_period_s
            and new.connected == old.connected
            and not _differs(new.uplink_bps, old.uplink_bps, _LEAST_RATE_CHANGE)
            and not _differs(new.rtt_s, old.rtt_s, _LEAST_RTT_CHANGE)
        ):
            return
        self._last, self._published_s = new, now_s
        self._actions.append(PublishLink(new))


def _differs(new: float, old: float, least: float) -> bool:
    if math.isnan(new) or math.isnan(old):
        return math.isnan(new) != math.isnan(old)
    return abs(new - old) > least * abs(old)
