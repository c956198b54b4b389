"""Whether a plan followed is judged from a log; here from logs whose course is known."""

from __future__ import annotations

from dapdee_ros.report.run_log import FrameRecord, LinkRecord, PlanRecord, RunLog
from dapdee_ros.testbed.following import changes_of, lost_frames, outages_of


def frame(number: int, at_s: float, place: str = "edge", latency_s: float = 0.05) -> FrameRecord:
    sent_bytes = 0 if place == "car" else 2000
    return FrameRecord(
        at_s, number, 1, 1, 0.9, 4, place, 1, 0.01, 0.02, 0.01, latency_s, sent_bytes
    )


def plan(at_s: float, epoch: int, boundary: list[str]) -> PlanRecord:
    return PlanRecord(at_s, epoch, 4, boundary, "u8" if boundary else "", False, 0.1, "")


def run(frames: list[FrameRecord], plans: list[PlanRecord], links: list[LinkRecord]) -> RunLog:
    """Ten seconds at 5 Mbit/s, ten at 1."""
    return RunLog(
        settings={"seconds": 20.0, "deadline_s": 0.3},
        frames=frames,
        plans=plans,
        links=links,
        link_truth=[LinkRecord(0.0, 5e6, 0.0, True), LinkRecord(10.0, 1e6, 0.0, True)],
    )


IMAGE, NECK = ["image"], ["neck"]
KNOWN = LinkRecord(9.0, 5e6, 0.01, True)


def test_frames_are_counted_from_the_first_evidence_to_the_plan() -> None:
    frames = [frame(n, n / 10) for n in range(1, 200)]
    log = run(frames, [plan(0.0, 1, IMAGE), plan(10.34, 2, NECK)], [KNOWN])
    (change,) = changes_of(log)
    assert change.needed and change.holds
    assert change.settled == (4, ("neck",), "u8")
    assert round(change.evidence_s or 0, 6) == 0.1
    assert round(change.followed_s or 0, 6) == 0.34
    assert change.frames == 3
    assert round(change.lag_s or 0, 6) == 0.24


def test_a_plan_that_comes_late_does_not_hold() -> None:
    frames = [frame(n, n / 10) for n in range(1, 200)]
    log = run(frames, [plan(0.0, 1, IMAGE), plan(11.0, 2, NECK)], [KNOWN])
    (change,) = changes_of(log)
    assert not change.holds


def test_rare_frames_may_take_longer_than_half_a_second() -> None:
    frames = [frame(n, float(n)) for n in range(1, 20)]
    log = run(frames, [plan(0.0, 1, IMAGE), plan(12.5, 2, NECK)], [KNOWN])
    (change,) = changes_of(log)
    assert round(change.evidence_s or 0, 6) == 1.0
    assert change.frames == 2
    assert change.holds


def test_an_estimate_that_moves_towards_the_new_rate_is_evidence_another_one_is_not() -> None:
    frames = [frame(n, n / 10, "car") for n in range(1, 200)]
    links = [KNOWN, LinkRecord(10.2, 6e6, 0.01, True), LinkRecord(10.8, 2e6, 0.01, True)]
    log = run(frames, [plan(0.0, 1, IMAGE), plan(11.0, 2, NECK)], links)
    (change,) = changes_of(log)
    assert round(change.evidence_s or 0, 6) == 0.8
    assert change.holds


def test_a_plan_that_stays_right_need_not_change_and_flicker_is_not_settled() -> None:
    frames = [frame(n, n / 10) for n in range(1, 200)]
    log = run(frames, [plan(0.0, 1, IMAGE)], [KNOWN])
    assert not changes_of(log)[0].needed and changes_of(log)[0].holds
    flicker = [plan(0.0, 1, IMAGE), plan(10.2, 2, NECK), plan(10.9, 3, IMAGE), plan(11.4, 4, NECK)]
    (change,) = changes_of(run(frames, flicker, [KNOWN]))
    assert change.settled == (4, ("neck",), "u8")
    assert change.plans == 3


def test_an_outage_counts_every_frame_in_it() -> None:
    frames = [frame(n, n / 10) for n in range(1, 100)]
    frames += [frame(n, n / 10 + 0.2, "fallback", 0.25) for n in range(100, 150) if n != 140]
    frames += [frame(n, n / 10, "car", 0.02) for n in range(150, 160)]
    frames += [frame(n, n / 10) for n in range(160, 200)]
    log = RunLog(
        settings={"seconds": 20.0, "deadline_s": 0.3},
        frames=frames,
        plans=[plan(0.0, 1, IMAGE), plan(10.3, 2, []), plan(15.7, 3, IMAGE)],
        links=[KNOWN],
        link_truth=[
            LinkRecord(0.0, 5e6, 0.0, True),
            LinkRecord(10.0, 0.0, 0.0, False),
            LinkRecord(15.0, 5e6, 0.0, True),
        ],
    )
    (outage,) = outages_of(log)
    assert outage.unanswered == 1 == lost_frames(log)
    assert not outage.holds
    assert outage.worst_latency_s == 0.25
    assert round(outage.edge_used_again_s or 0, 6) == 1.0
    assert round(outage.sending_again_s or 0, 6) == 0.7
