"""The simulation of a testbed run, and the testbed's overheads outside the network.

What profiles do not contain is measured in two runs per load: the car alone, and the edge server
alone (``edge-only``) over a link so fast that transfer hardly matters.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.from_card import problem_of
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Situation, ask, make_policy
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.simulation.figures import Figures, figures_of
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Scenario, Wire
from dapdee_ros.testbed.settings import CODECS, TestbedSettings
from dapdee_ros.testbed.shaping import MTU_BYTES, unshaped_bytes

_ETHERNET_BYTES, _IP_BYTES = 14, 20
# RTPS overhead of a reliable message in addition to packet headers: its own headers, heartbeats,
# and the acknowledgement of the message in the other direction. Measured on a testbed's link
# (``carried_bytes``) under ``edge-only``, 20 frames/s.
_RTPS_FRAME_BYTES, _RTPS_ANSWER_BYTES = 350, 250
_WARM_UP_S = 3.0
_BUSY = 0.75


@dataclass(frozen=True)
class Overheads:
    """A frame's overheads on a testbed, in addition to the profiled network and its bytes.

    Attributes:
        slowdown: of the network on the car, measured over profiled.
        car_s: on the car, in s, for a frame finished there.
        send_s: on the car, in s, for a frame that it sends: packing it, receiving the answer; no
            less than ``car_s``.
        edge_s: on the edge server, in s per frame.
        rtt_s: round trip of an empty message, in s.
        edge_slowdown: of the network on the edge server, measured over profiled: for infrequent
            frames the processor's caches are cold.
    """

    slowdown: float = 1.0
    car_s: float = 0.0
    send_s: float = 0.0
    edge_s: float = 0.0
    rtt_s: float = 0.0
    edge_slowdown: float = 1.0


def scenario_of(
    card: ModelCard, settings: TestbedSettings, folder: Path, overheads: Overheads
) -> Scenario:
    """The scenario of a run on the testbed.

    Args:
        card: the model.
        settings: of the run.
        folder: the run's, with its measured profiles; or another run's with the same machines.
        overheads: of the testbed.
    """
    utilisation = settings.manager_parameters().get("frame_utilisation")
    planning = PlanningSettings(
        deadline_s=settings.deadline, mode=settings.mode, gates=settings.gates
    )
    if isinstance(utilisation, float):
        planning = replace(planning, frame_utilisation=utilisation)
    link, wire = parse_link(settings.link), Wire()
    car, edge = _profiles(folder)
    sending_s = max(0.0, overheads.send_s - overheads.car_s)
    car = replace(car, overhead=Overhead(overheads.car_s, sending_s))
    edge = replace(edge, overhead=Overhead(overheads.edge_s))
    return Scenario(
        problem=problem_of(card, car, edge, CODECS[settings.codecs]),
        link=link,
        burst_bytes=unshaped_bytes(link.rates_bps[0]),
        curves=card.calibration,
        rtt_s=overheads.rtt_s + 2 * settings.delay_s,
        seconds=settings.seconds + _WARM_UP_S,
        rate_hz=settings.rate,
        planning=planning,
        wire=replace(
            wire,
            frame_bytes=wire.frame_bytes + _RTPS_FRAME_BYTES,
            answer_bytes=wire.answer_bytes + _RTPS_ANSWER_BYTES,
            packet_bytes=MTU_BYTES + _ETHERNET_BYTES,
            packet_header_bytes=_ETHERNET_BYTES + _IP_BYTES,
        ),
        car_load=LoadTrace(slowdowns=(overheads.slowdown,)),
        edge_load=LoadTrace(slowdowns=(overheads.edge_slowdown,)),
    )


def twin_figures(scenario: Scenario, settings: TestbedSettings) -> Figures:
    """The simulator's figures for a testbed run, once the link is known."""
    return figures_of(simulate(scenario, settings.asked_policy), _WARM_UP_S)


def overheads_alone(log: RunLog, card: ModelCard, folder: Path) -> Overheads:
    """Overheads from a run of the car alone, whose link carries only probes."""
    frames = log.frames
    head_s = statistics.median(f.head_s for f in frames)
    if log.settings["load"] == "light":
        beside_s = statistics.median(f.latency_s - f.head_s for f in frames)
    else:
        # Latency includes waiting for the previous frame; but one is always being computed.
        beside_s = (frames[-1].at_s - frames[0].at_s) / (len(frames) - 1) - head_s
    return Overheads(
        slowdown=head_s / _profiled(card, folder, "device-only").head_s,
        car_s=max(0.0, beside_s),
        rtt_s=statistics.median(link.rtt_s for link in log.links if link.rtt_s is not None),
    )


def with_sending(
    overheads: Overheads, log: RunLog, card: ModelCard, settings: TestbedSettings, folder: Path
) -> Overheads:
    """Add the overheads of sending and of the edge server, from a run of ``edge-only``.

    Under heavy load either the car or the edge server is saturated, and only its overhead can be
    measured; the other's is assumed to be that of an unsent frame, or zero.

    Args:
        overheads: of the car alone, under the same load.
        log: the run.
        card: the model.
        settings: the run's.
        folder: the run's.
    """
    profiled_s = _profiled(card, folder, "edge-only").edge_s
    tail_s = statistics.median(f.tail_s for f in log.frames if f.place == "edge")
    found = replace(overheads, edge_slowdown=tail_s / profiled_s)
    if not settings.is_heavy:
        scenario = scenario_of(card, settings, folder, replace(found, send_s=0.0))
        expected_s = twin_figures(scenario, settings).median_latency_s
        median_s = statistics.median(f.latency_s for f in log.frames)
        return replace(found, send_s=found.car_s + max(0.0, median_s - expected_s))
    period_s = settings.seconds / len(log.frames)
    if tail_s > _BUSY * period_s:
        return replace(found, edge_s=max(0.0, period_s - tail_s), send_s=found.car_s)
    return replace(found, send_s=max(found.car_s, period_s))


def _profiles(folder: Path) -> tuple[DeviceProfile, DeviceProfile]:
    car, edge = (DeviceProfile.load(folder / side / "profile.json") for side in ("car", "edge"))
    return car, edge


def _profiled(card: ModelCard, folder: Path, policy: str) -> Plan:
    """A policy's plan over a link, priced with the profiles."""
    problem = problem_of(card, *_profiles(folder), CODECS["f32"])
    situation = Situation(car_and_edge(), (Hop(1e6),), deadline_s=1.0)
    return ask(make_policy(policy, problem), situation, problem)
