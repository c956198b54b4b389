import math

import pytest

from dapdee_ros.estimation.car_health import (
    MachineLoad,
    gate_health,
    link_health,
    machine_health,
    plan_health,
)
from dapdee_ros.estimation.health import Findings, Level, Recent
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.estimation.prediction import GateShare, PredictionDrift


def test_the_worst_finding_is_the_level_and_stands_first() -> None:
    found = Findings()
    assert found.verdict("fine", {}).level is Level.OK
    found.add(Level.STALE, "unheard of")
    found.add(Level.ERROR, "broken")
    found.add(Level.WARN, "slow")
    verdict = found.verdict("fine", {})
    assert verdict.level is Level.ERROR
    assert verdict.message == "broken; slow; unheard of"


def test_recent_growth_forgets_what_is_older_than_the_window() -> None:
    recent = Recent(window_s=10.0)
    assert recent.grown(0.0, 3) == 3  # all of it since the start
    assert [recent.grown(float(t), 3 + t) for t in range(1, 10)] == list(range(4, 13))
    assert recent.grown(10.0, 13) == 10
    assert recent.grown(30.0, 13) == 0
    # Whoever counts was started anew.
    assert recent.grown(31.0, 2) == 2


def link(**changes: float) -> LinkEstimate:
    values = {"uplink_bps": 5e6, "rtt_s": 0.02, "loss_ratio": 0.0, "connected": True}
    values |= {"age_s": 0.1, "relative_spread": 0.1, "measurements": 9}
    return LinkEstimate(**{**values, **changes})  # type: ignore[arg-type]


def test_a_link_is_well_while_the_edge_answers() -> None:
    assert link_health(link()).level is Level.OK
    never = link_health(link(connected=False, measurements=0, uplink_bps=math.nan))
    assert never.level is Level.WARN and "ROS_DOMAIN_ID" in never.message
    gone = link_health(link(connected=False))
    assert gone.level is Level.WARN and "not connected" in gone.message
    assert link_health(link(loss_ratio=0.7)).level is Level.WARN


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Level.OK, "processor 20%"),
        ({"memory_ratio": 0.95}, Level.WARN, "memory"),
        ({"memory_ratio": 0.99}, Level.ERROR, "memory"),
        ({"temperature_c": 85.0}, Level.WARN, "85 degrees"),
        ({"temperature_c": 95.0}, Level.ERROR, "cool"),
        ({"battery_ratio": 0.1}, Level.WARN, "battery at 10%"),
        ({"battery_ratio": 0.01}, Level.ERROR, "charge"),
        ({"slowdown": 3.0}, Level.WARN, "3.0 times slower"),
        ({"cpu_ratio": 1.0}, Level.WARN, "busy"),
    ],
)
def test_what_a_machine_suffers_from(changes: dict, level: Level, words: str) -> None:
    values = {"cpu_ratio": 0.2, "memory_ratio": 0.3, "battery_ratio": math.nan}
    values |= {"temperature_c": math.nan, "slowdown": math.nan, "queue_depth": 0}
    health = machine_health(MachineLoad(**{**values, **changes}))
    assert health.level is level
    assert words in health.message


class ThePlan:
    epoch, exit, codec, late, policy, reason = 4, 5, "u8", False, "exact", "lowest latency"
    deadline_s, predicted_latency_s = 0.3, 0.1


def drift(measured_s: float, frames: int = 20) -> PredictionDrift:
    drift = PredictionDrift()
    drift.on_plan(4, 0.1)
    for _ in range(frames):
        drift.on_frame(4, measured_s)
    return drift


def test_a_plan_is_well_while_it_is_kept_and_comes_true() -> None:
    def level(measured_s: float = 0.1, frames: int = 20, failure: str = "") -> Level:
        return plan_health(
            ThePlan(), age_s=1.0, boundary="image", drift=drift(measured_s, frames), failure=failure
        ).level

    assert level() is Level.OK
    assert level(0.2) is Level.WARN
    assert level(0.05) is Level.WARN
    assert level(0.2, frames=3) is Level.OK  # too few to say
    assert level(failure="no new plan: it raised") is Level.ERROR
    late = ThePlan()
    late.late = True
    health = plan_health(late, age_s=1.0, boundary="", drift=drift(0.1))
    assert health.level is Level.WARN and "deadline" in health.message
    none = plan_health(None, age_s=0.0, boundary="", drift=drift(0.1), missing="the edge's profile")
    assert none.level is Level.WARN and "the edge's profile" in none.message


def test_drift_counts_frames_of_the_plan_in_force_only() -> None:
    drift = PredictionDrift()
    drift.on_plan(1, 0.1)
    drift.on_frame(2, 5.0)
    drift.on_frame(1, math.nan)
    assert drift.frames == 0 and math.isnan(drift.ratio)
    drift.on_frame(1, 0.15)
    drift.on_frame(1, 0.25)
    assert drift.ratio == pytest.approx(2.0)
    drift.on_plan(2, 0.2)
    assert drift.frames == 0


@pytest.mark.parametrize(
    ("ended", "frames", "level"),
    [(70, 100, Level.OK), (40, 100, Level.WARN), (95, 100, Level.WARN), (10, 20, Level.OK)],
)
def test_a_gate_that_ends_another_share_than_calibrated_says_so(
    ended: int, frames: int, level: Level
) -> None:
    share = GateShare()
    share.on_plan(1, 0.8, 0.7)
    for number in range(frames):
        share.on_frame(number < ended)
    health = gate_health(share)
    assert health.level is level
    assert health.values["real_share"] == ended / frames
    share.on_plan(1, 0.8, 0.7)  # the same gate in another plan goes on
    assert share.frames == frames
    share.on_plan(None, 0.0, 0.0)
    assert gate_health(share).message == "the plan has no gate"
