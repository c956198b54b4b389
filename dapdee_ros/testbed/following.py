"""Whether the plan follows the link, evaluated from the log of a run with link changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dapdee_ros.report.run_log import FrameRecord, LinkRecord, PlanRecord, RunLog

MOST_FRAMES = 3
MOST_S = 0.5
"""A plan has to follow within this many answered frames or seconds of the first evidence."""

RECOVERY_S = 2.0
LATE_RATIO = 1.2
"""In an outage every frame has to be answered within this many deadlines."""

_LEAST_RATE_CHANGE = 0.05

PlanKey = tuple[int, tuple[str, ...], str]


@dataclass(frozen=True)
class Change:
    """The response to one change of the link's rate.

    Attributes:
        at_s: when the rate changed, on the log's clock.
        rate_bps: to what, in bit/s.
        until_s: when it changed again, or the run ended.
        settled: exit, boundary and codec of the plan that was in force for most of the second half
            of that time.
        needed: whether the plan in force at the change was different.
        evidence_s: seconds from the change to the first evidence: an answer to a frame that was in
            flight at the change or sent after it, a dropped frame, or an estimate that moved
            towards the new rate. None: there was none.
        followed_s: seconds from the change until the settled plan was in force for the first time;
            None if it never was.
        frames: results from the first evidence (inclusive) until then.
        plans: how many plans were published in this time.
    """

    at_s: float
    rate_bps: float
    until_s: float
    settled: PlanKey
    needed: bool
    evidence_s: float | None
    followed_s: float | None
    frames: int
    plans: int

    @property
    def lag_s(self) -> float | None:
        """Seconds from the first evidence to the settled plan; below 0 if that came first."""
        if self.followed_s is None or self.evidence_s is None:
            return None
        return self.followed_s - self.evidence_s

    @property
    def holds(self) -> bool:
        """Whether the plan followed in time."""
        if not self.needed:
            return True
        return self.lag_s is not None and (self.lag_s <= MOST_S or self.frames <= MOST_FRAMES)


@dataclass(frozen=True)
class Outage:
    """The response to an outage.

    Attributes:
        at_s: when it started, on the log's clock.
        seconds: how long it was.
        accepted: frames that were accepted in it, or in flight when it started.
        unanswered: how many of them got no result.
        worst_latency_s: the longest latency.
        deadline_s: the deadline.
        edge_used_again_s: seconds from its end to the first result of the edge; None: there was
            none.
        sending_again_s: seconds from its end to the first plan that sends; None: there was none.
    """

    at_s: float
    seconds: float
    accepted: int
    unanswered: int
    worst_latency_s: float
    deadline_s: float
    edge_used_again_s: float | None
    sending_again_s: float | None

    @property
    def holds(self) -> bool:
        """Whether every frame was answered in time and the edge was soon used again."""
        return (
            self.accepted > 0
            and not self.unanswered
            and self.worst_latency_s <= LATE_RATIO * self.deadline_s
            and self.edge_used_again_s is not None
            and self.edge_used_again_s <= RECOVERY_S
        )


def changes_of(log: RunLog) -> list[Change]:
    """The response to each change of the link, except outages."""
    return [
        _change(log, truth, until_s)
        for truth, until_s in _pieces(log)
        if truth.connected and truth.at_s > log.link_truth[0].at_s
    ]


def outages_of(log: RunLog) -> list[Outage]:
    """The response to each outage."""
    return [_outage(log, truth, until_s) for truth, until_s in _pieces(log) if not truth.connected]


def lost_frames(log: RunLog) -> int:
    """Frames without a result, from the first to the last that has one."""
    numbers = {frame.number for frame in log.frames}
    return max(numbers) - min(numbers) + 1 - len(numbers) if numbers else 0


def _pieces(log: RunLog) -> list[tuple[LinkRecord, float]]:
    truths = log.link_truth
    ends = [truth.at_s for truth in truths[1:]] + [float(log.settings["seconds"])]
    return list(zip(truths, ends, strict=True))


def _key(plan: PlanRecord) -> PlanKey:
    return plan.exit_number, tuple(plan.boundary), plan.codec


def _in_force(plans: Sequence[PlanRecord], at_s: float) -> PlanRecord | None:
    return next((plan for plan in reversed(plans) if plan.at_s <= at_s), None)


def _change(log: RunLog, truth: LinkRecord, until_s: float) -> Change:
    at_s = truth.at_s
    rate_bps = truth.uplink_bps or 0.0
    settled = _settled(log.plans, (at_s + until_s) / 2, until_s)
    before = _in_force(log.plans, at_s)
    new = [plan for plan in log.plans if at_s < plan.at_s < until_s]
    needed = before is None or _key(before) != settled
    followed = next((plan.at_s for plan in new if _key(plan) == settled), None)
    if not needed:
        followed = at_s
    evidence = _first_evidence(log, at_s, until_s, rate_bps)
    frames = 0
    if followed is not None and evidence is not None:
        frames = sum(evidence <= frame.at_s < followed for frame in log.frames)
    return Change(
        at_s=at_s,
        rate_bps=rate_bps,
        until_s=until_s,
        settled=settled,
        needed=needed,
        evidence_s=None if evidence is None else evidence - at_s,
        followed_s=None if followed is None else followed - at_s,
        frames=frames,
        plans=len(new),
    )


def _settled(plans: Sequence[PlanRecord], from_s: float, until_s: float) -> PlanKey:
    """The plan that was in force longest between two times."""
    seconds: Counter[PlanKey] = Counter()
    ends = [plan.at_s for plan in plans[1:]] + [float("inf")]
    for plan, end_s in zip(plans, ends, strict=True):
        # A Counter of floats, for fractional seconds.
        seconds[_key(plan)] += max(0.0, min(end_s, until_s) - max(plan.at_s, from_s))  # type: ignore[assignment]
    return seconds.most_common(1)[0][0]


def _first_evidence(log: RunLog, at_s: float, until_s: float, rate_bps: float) -> float | None:
    times = [
        frame.at_s
        for frame in log.frames
        if at_s < frame.at_s < until_s and _was_on_link(frame, at_s)
    ]
    before = next((r for r in reversed(log.links) if r.at_s <= at_s), None)
    times += [
        record.at_s
        for record in log.links
        if at_s < record.at_s < until_s and _moved(before, record, rate_bps)
    ]
    return min(times, default=None)


def _was_on_link(frame: FrameRecord, at_s: float) -> bool:
    """Whether a frame was sent to the edge, and not before a given time."""
    if not frame.sent_bytes:
        return False
    return frame.at_s - frame.tail_s > at_s


def _moved(before: LinkRecord | None, now: LinkRecord, rate_bps: float) -> bool:
    """Whether an estimate has changed, in the direction of the new rate."""
    if before is None or now.connected != before.connected:
        return True
    if before.uplink_bps is None or now.uplink_bps is None:
        return before.uplink_bps is not now.uplink_bps
    moved = now.uplink_bps / before.uplink_bps - 1
    towards = rate_bps > before.uplink_bps
    return abs(moved) > _LEAST_RATE_CHANGE and (moved > 0) == towards


def _outage(log: RunLog, truth: LinkRecord, until_s: float) -> Outage:
    at_s = truth.at_s
    frames = [
        frame
        for frame in log.frames
        if frame.at_s > at_s and frame.at_s - frame.latency_s < until_s
    ]
    numbers = {frame.number for frame in frames}
    accepted = max(numbers) - min(numbers) + 1 if numbers else 0
    used = [f.at_s for f in log.frames if f.place == "edge" and f.at_s > until_s]
    sending = [p.at_s for p in log.plans if p.boundary and p.at_s > until_s]
    return Outage(
        at_s=at_s,
        seconds=until_s - at_s,
        accepted=accepted,
        unanswered=accepted - len(numbers),
        worst_latency_s=max((frame.latency_s for frame in frames), default=0.0),
        deadline_s=float(log.settings["deadline_s"]),
        edge_used_again_s=min(used) - until_s if used else None,
        sending_again_s=min(sending) - until_s if sending else None,
    )
