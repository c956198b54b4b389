"""Health of link, machine, plan and gate: the bounds, and advice beyond them.

All bounds are our own. Each message has the figure, and the parameter or command that helps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from dapdee_ros.estimation.health import Findings, Health, Level, Value
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.estimation.load import LoadEstimate
from dapdee_ros.estimation.prediction import GateShare, PredictionDrift

_HIGH_LOSS = 0.5
_BUSY_CPU = 0.97
_FULL_MEMORY, _NO_MEMORY = 0.9, 0.97
_HOT_C, _THROTTLED_C = 80.0, 90.0
_LOW_BATTERY, _EMPTY_BATTERY = 0.2, 0.05
_SLOW = 2.0
_DRIFT = 1.5
_DRIFT_LEAST_S = 0.01
_DRIFT_FRAMES = 10


def link_health(link: LinkEstimate) -> Health:
    """The link from car to edge: WARN while no edge answers."""
    found = Findings()
    values: dict[str, Value] = {
        "connected": link.connected,
        "uplink_bps": link.uplink_bps,
        "uplink_spread": link.relative_spread,
        "rtt_s": link.rtt_s,
        "loss_ratio": link.loss_ratio,
        "age_s": link.age_s,
        "measurements": link.measurements,
    }
    if not link.connected and link.measurements == 0:
        found.add(
            Level.WARN,
            "no edge has answered yet: start one (dapdee edge) with the same ROS_DOMAIN_ID and "
            "namespace; until then the car finishes alone",
        )
    elif not link.connected:
        found.add(
            Level.WARN,
            "not connected: the edge has gone silent, so the car finishes alone. If this "
            "persists, check the edge's process and the radio link",
        )
    elif link.loss_ratio > _HIGH_LOSS:
        found.add(
            Level.WARN,
            f"{link.loss_ratio:.0%} of the messages sent lately got no answer: the link or the "
            "edge "
            "is overloaded",
        )
    well = f"{link.uplink_bps / 1e6:.2f} Mbit/s, round trip {1e3 * link.rtt_s:.0f} ms"
    return found.verdict(well, values)


@dataclass(frozen=True)
class MachineLoad:
    """A load monitor's measurement; NaN if there is nothing to measure.

    Attributes:
        cpu_ratio: share of all cores in use, 0 to 1.
        memory_ratio: share of memory in use, 0 to 1.
        battery_ratio: charge left, 0 to 1.
        temperature_c: hottest sensor of the processor, in degrees Celsius.
        slowdown: measured over profiled seconds of the network's part here.
        queue_depth: frames waiting or being computed here.
    """

    cpu_ratio: float
    memory_ratio: float
    battery_ratio: float
    temperature_c: float
    slowdown: float
    queue_depth: int


def machine_health(load: MachineLoad) -> Health:
    """One machine: its processor, memory, battery, temperature and slowdown."""
    found = Findings()
    if load.memory_ratio > _NO_MEMORY:
        found.add(Level.ERROR, f"memory is {load.memory_ratio:.0%} full: end other programs")
    elif load.memory_ratio > _FULL_MEMORY:
        found.add(Level.WARN, f"memory is {load.memory_ratio:.0%} full")
    if load.temperature_c > _THROTTLED_C:
        found.add(
            Level.ERROR,
            f"{load.temperature_c:.0f} degrees Celsius: the processor is being slowed down; cool "
            "it",
        )
    elif load.temperature_c > _HOT_C:
        found.add(Level.WARN, f"{load.temperature_c:.0f} degrees Celsius: cool the processor")
    if load.battery_ratio < _EMPTY_BATTERY:
        found.add(Level.ERROR, f"battery at {load.battery_ratio:.0%}: charge it now")
    elif load.battery_ratio < _LOW_BATTERY:
        found.add(Level.WARN, f"battery at {load.battery_ratio:.0%}")
    if load.slowdown > _SLOW:
        found.add(
            Level.WARN,
            f"the network runs {load.slowdown:.1f} times slower than profiled: other programs "
            "compete, or the processor is slowed down; if this is always so, delete the cached "
            "profile so that it is measured again",
        )
    if load.cpu_ratio > _BUSY_CPU:
        found.add(Level.WARN, f"all cores are busy ({load.cpu_ratio:.0%})")
    values: dict[str, Value] = {
        "cpu_ratio": load.cpu_ratio,
        "memory_ratio": load.memory_ratio,
        "battery_ratio": load.battery_ratio,
        "temperature_c": load.temperature_c,
        "slowdown": load.slowdown,
        "queue_depth": load.queue_depth,
    }
    well = f"processor {load.cpu_ratio:.0%}, memory {load.memory_ratio:.0%}"
    return found.verdict(well, values)


def score_health(load: LoadEstimate) -> Health:
    """The load score. Heavy load is a planning mode, not a problem by itself."""
    values: dict[str, Value] = {"score": load.score, "heavy": load.heavy}
    for name, level in load.indicators.items():
        values[f"{name} (weight {load.weights.get(name, 0.0):.2f})"] = level
    if not load.indicators:
        return Health(
            Level.STALE,
            "the load is unknown: are link_monitor and load_monitor running?",
            values,
        )
    most = max(load.indicators, key=lambda name: load.weights.get(name, 0) * load.indicators[name])
    kind = "heavy load, plans keep the period low" if load.heavy else "light load"
    return Health(Level.OK, f"{kind}: score {load.score:.2f}, mostly {most}", values)


class PlanInForce(Protocol):
    """The fields of a plan that are judged (those of the message PartitionPlan)."""

    epoch: int
    exit: int
    codec: str
    late: bool
    policy: str
    reason: str
    deadline_s: float
    predicted_latency_s: float


def plan_health(
    plan: PlanInForce | None,
    *,
    age_s: float,
    boundary: str,
    drift: PredictionDrift,
    missing: str = "",
    failure: str = "",
) -> Health:
    """The plan in force and how well it predicts.

    Args:
        plan: the plan, None before the first.
        age_s: seconds since it came into force.
        boundary: what it sends, as text.
        drift: predicted and measured latency.
        missing: what is still needed to plan, as text.
        failure: why there is no new plan, as text.
    """
    found = Findings()
    if failure:
        stays = "" if plan is None else "; the last good plan stays"
        found.add(Level.ERROR, f"{failure}{stays}")
    if plan is None:
        if not failure:
            found.add(Level.WARN, f"no plan yet: {missing or 'nothing is known of the link'}")
        return found.verdict("", {})
    values: dict[str, Value] = {
        "epoch": plan.epoch,
        "age_s": age_s,
        "policy": plan.policy,
        "exit": plan.exit,
        "boundary": boundary,
        "codec": plan.codec,
        "reason": plan.reason,
        "late": plan.late,
        "predicted_latency_s": plan.predicted_latency_s,
        "measured_latency_s": drift.measured_s,
        "measured_over_predicted": drift.ratio,
        "frames_measured": drift.frames,
    }
    if plan.late:
        found.add(
            Level.WARN,
            f"no plan meets the deadline of {1e3 * plan.deadline_s:.0f} ms, the fastest takes "
            f"{1e3 * plan.predicted_latency_s:.0f} ms: raise deadline_s, lower the frame rate, or "
            "take a smaller model",
        )
    off_s = abs(drift.measured_s - drift.predicted_s)
    if drift.frames >= _DRIFT_FRAMES and off_s > _DRIFT_LEAST_S:
        words = (
            f"frames take {1e3 * drift.measured_s:.0f} ms where the plan predicts "
            f"{1e3 * drift.predicted_s:.0f} ms"
        )
        if drift.ratio > _DRIFT:
            found.add(
                Level.WARN,
                f"{words}: if this stays, look at link and load, and let both sides measure their "
                "profiles anew",
            )
        elif drift.ratio < 1 / _DRIFT:
            found.add(
                Level.WARN,
                f"{words}, so better plans are passed over: let both sides measure their profiles "
                "anew",
            )
    sends = f"send {boundary} as {plan.codec}" if boundary else "all on the car"
    well = f"plan {plan.epoch}: exit {plan.exit}, {sends}, for {age_s:.0f} s"
    return found.verdict(well, values)


def gate_health(share: GateShare) -> Health:
    """The gate of the plan in force: does it end as many frames as calibrated?"""
    values: dict[str, Value] = {
        "calibrated_share": share.calibrated,
        "real_share": share.real,
        "frames_measured": share.frames,
    }
    if math.isnan(share.calibrated):
        return Health(Level.OK, "the plan has no gate", values)
    if share.drifted():
        return Health(
            Level.WARN,
            f"the gate ends {share.real:.0%} of the last {share.frames} frames, calibrated were "
            f"{share.calibrated:.0%}: what the camera sees differs from the calibration data. "
            "Calibrate with frames of this camera (dapdee calibrate), or set gates to false",
            values,
        )
    real = f"ends {share.real:.0%} of the frames, " if share.frames else ""
    return Health(Level.OK, f"{real}calibrated {share.calibrated:.0%}", values)
