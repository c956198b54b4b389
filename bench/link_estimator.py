"""Does the link estimate follow the link? On measured drives and on steps by ten times.

A discrete simulation in virtual time: frames through a shaped link to an edge server and back,
probes as scheduled, the estimator gets only what a car would see. The truth is the trace itself.
Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dapdee_ros.estimation.link import LinkEstimator
from dapdee_ros.estimation.probes import ProbeSchedule
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.link_trace import FIXED_RATES_BPS, LinkTrace
from dapdee_ros.simulation.shaper import ShapedLink

TRACES = Path(__file__).resolve().parents[2] / "shared" / "traces"
FRAME_BYTES = (1_000, 3_000, 8_000, 20_000, 60_000)
DELAY_S = 0.015
GIVE_UP_S = 0.5
OVERHEAD_BYTES = 100


@dataclass
class Drive:
    """One run: what was estimated and true at every answered frame, and at every tick."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    tick_errors: list[float] = field(default_factory=list)
    connected: list[tuple[float, bool]] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    next_errors: list[float] = field(default_factory=list)
    alive_while_dead_s: float = 0.0
    dead_while_alive_s: float = 0.0
    probe_bytes: int = 0


def run(
    trace: LinkTrace,
    duration_s: float,
    frames_per_s: float,
    seed: int = 0,
    jitter_s: float = 0.001,
) -> Drive:
    """Drive over the trace: frames as large as the estimate allows, at most two in flight.

    Without frames only probes measure. Every way takes ``jitter_s`` longer in the mean.
    """
    rng = np.random.default_rng(seed)
    link = ShapedLink(trace, DELAY_S, queue_bytes=200_000)
    estimator, schedule, drive = LinkEstimator(), ProbeSchedule(), Drive()
    events: list[tuple[float, int, str, tuple]] = []
    count = 0

    def at(when_s: float, what: str, *about: object) -> None:
        nonlocal count
        count += 1
        if math.isfinite(when_s):
            heapq.heappush(events, (when_s, count, what, about))

    for index in range(int(duration_s * frames_per_s) if frames_per_s else 0):
        at(0.2 + index / frames_per_s, "frame", index)
    for index in range(int(duration_s / 0.05)):
        at(index * 0.05, "tick")
    in_flight: dict[object, tuple[float, int]] = {}
    edge_free_s = 0.0
    while events:
        now_s, _, what, about = heapq.heappop(events)
        if what == "tick":
            estimate = estimator.estimate(now_s)
            padding = schedule.due(now_s, estimate)
            if padding is not None:
                probe = ("probe", now_s)
                drive.probe_bytes += padding + OVERHEAD_BYTES
                estimator.on_sent(now_s, padding, probe)
                arrival = link.send(now_s, padding + OVERHEAD_BYTES)
                if arrival is not None:
                    at(arrival + DELAY_S + rng.exponential(jitter_s), "echo", probe, now_s, padding)
            drive.connected.append((now_s, estimate.connected))
            truth = trace.mean_bps(max(0.0, now_s - 0.5), now_s + 0.5)
            dead = trace.mean_bps(max(0.0, now_s - 1.0), now_s + 1e-3) == 0
            if truth > 0 and estimate.connected and math.isfinite(estimate.uplink_bps):
                drive.tick_errors.append(estimate.uplink_bps / truth - 1)
            drive.alive_while_dead_s += 0.05 * (dead and estimate.connected)
            drive.dead_while_alive_s += 0.05 * (truth > 0.1e6 and not estimate.connected)
            for key, (sent_s, n_bytes) in list(in_flight.items()):
                if now_s - sent_s > GIVE_UP_S:
                    del in_flight[key]
                    estimator.on_unanswered(now_s, n_bytes, now_s - sent_s, key)
        elif what == "frame":
            estimate = estimator.estimate(now_s)
            if len(in_flight) >= 2 or not estimate.connected:
                continue
            rate = estimate.uplink_bps if math.isfinite(estimate.uplink_bps) else 1e6
            n_bytes = max([n for n in FRAME_BYTES if 8 * n / rate < 0.08] or [FRAME_BYTES[0]])
            in_flight[about] = (now_s, n_bytes)
            estimator.on_sent(now_s, n_bytes, about)
            arrival = link.send(now_s, n_bytes + OVERHEAD_BYTES)
            if arrival is not None:
                at(arrival, "edge", about, now_s, n_bytes)
                truth = trace.mean_bps(now_s, max(now_s + 0.1, arrival - DELAY_S))
                if truth > 0 and math.isfinite(estimate.uplink_bps):
                    drive.next_errors.append(estimate.uplink_bps / truth - 1)
        elif what == "edge":
            start_s = max(now_s, edge_free_s)
            edge_free_s = start_s + 0.012 + rng.exponential(0.002)
            back_s = edge_free_s + DELAY_S + rng.exponential(jitter_s)
            at(back_s, "answer", *about, edge_free_s - now_s)
        elif what == "echo":
            key, sent_s, padding = about
            estimator.on_probe(now_s, now_s - sent_s, padding, key, cpu_wait_s=0.0)
        else:
            key, sent_s, n_bytes, residence_s = about
            in_flight.pop(key, None)
            transfer_s = now_s - sent_s - residence_s
            estimator.on_transfer(now_s, n_bytes, transfer_s, residence_s, key, cpu_wait_s=0.0)
            schedule.on_answer(now_s)
            estimate = estimator.estimate(now_s)
            drive.answers.append((now_s, estimate.uplink_bps))
            truth = trace.mean_bps(max(0.0, now_s - 0.25), now_s + 0.25)
            if truth > 0 and estimate.connected:
                drive.errors.append(estimate.uplink_bps / truth - 1)
    return drive


def median_error(errors: list[float]) -> float:
    """Median of the errors' sizes."""
    return round(float(np.median(np.abs(errors))), 4)


def step_response(before_bps: float, after_bps: float, phase_s: float) -> tuple[int, float]:
    """Answered frames and seconds after the step until the estimate is within 30 % to stay."""
    step_s = 10.0 + phase_s
    trace = parse_link(f"steps:{before_bps / 1e6}@0,{after_bps / 1e6}@{step_s}")
    answers = run(trace, 16.0, 10.0, seed=int(phase_s * 1e3)).answers
    after = [(t, rate) for t, rate in answers if t > step_s]
    settled = next(
        i for i in range(len(after)) if all(abs(r / after_bps - 1) <= 0.3 for _, r in after[i:])
    )
    return settled + 1, after[settled][0] - step_s


def outage_response(rate_bps: float, frames_per_s: float, phase_s: float) -> tuple[float, float]:
    """Seconds until an outage is detected, and its end."""
    dies_s, lives_s = 10.0 + phase_s, 15.0 + phase_s
    trace = parse_link(f"steps:{rate_bps / 1e6}@0,0@{dies_s},{rate_bps / 1e6}@{lives_s}")
    connected = run(trace, 20.0, frames_per_s).connected
    dead = next(t for t, alive in connected if t > dies_s and not alive)
    alive = next(t for t, alive in connected if t > lives_s and alive)
    return dead - dies_s, alive - lives_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames-per-s", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=300.0, help="of each trace")
    args = parser.parse_args()
    started = time.monotonic()
    figures: dict[str, object] = {"bench": "link_estimator", "frames_per_s": args.frames_per_s}
    paths = [TRACES / "ATT-LTE-driving.up", TRACES / "Verizon-LTE-short.up"]
    links = {p.stem: str(p) for p in paths if p.is_file()} | {"drive": "drive"}
    for name, text in links.items():
        trace = parse_link(text)
        seconds = min(args.seconds, trace.duration_s)
        drive = run(trace, seconds, args.frames_per_s)
        figures[name] = {
            "answered": len(drive.errors),
            "median_error": median_error(drive.errors),
            "median_bias": round(float(np.median(drive.errors)), 4),
            "median_error_next_frame": median_error(drive.next_errors),
            "connected_while_dead_s": round(drive.alive_while_dead_s, 2),
            "dead_while_connected_s": round(drive.dead_while_alive_s, 2),
            "probe_bytes_per_s": round(drive.probe_bytes / seconds),
        }
        print(name, figures[name])
        probed = run(trace, seconds, 0.0, jitter_s=0.004)
        figures[f"{name}, probes only"] = {
            "median_error": median_error(probed.tick_errors),
            "median_bias": round(float(np.median(probed.tick_errors)), 4),
            "probe_bytes_per_s": round(probed.probe_bytes / seconds),
        }
        print(name, "probes only", figures[f"{name}, probes only"])
    for before, after in ((10e6, 1e6), (1e6, 10e6), (1.1e6, 0.11e6), (0.13e6, 1.3e6)):
        responses = [step_response(before, after, phase / 100) for phase in range(10)]
        met = [frames <= 3 or seconds <= 0.5 for frames, seconds in responses]
        key = f"step {before / 1e6:g} to {after / 1e6:g} Mbit/s"
        figures[key] = {
            "worst_frames": max(frames for frames, _ in responses),
            "worst_s": round(max(seconds for _, seconds in responses), 3),
            "met": f"{sum(met)}/{len(met)}",
        }
        print(key, figures[key])
    for name, rate in FIXED_RATES_BPS.items():
        for frames_per_s in (args.frames_per_s, 0.0):
            outages = [outage_response(rate, frames_per_s, phase / 20) for phase in range(10)]
            key = f"outage at {name}, {frames_per_s:g} frames/s"
            figures[key] = {
                "worst_noticed_dead_s": round(max(dead for dead, _ in outages), 2),
                "worst_noticed_alive_s": round(max(alive for _, alive in outages), 2),
            }
            print(key, figures[key])
    figures["wall_s"] = round(time.monotonic() - started, 1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
