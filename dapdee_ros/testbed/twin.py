"""The simulator's twin of a run on the testbed, and what the testbed takes beside the network.

What a profile does not know is measured on two runs a load: the car alone, and the edge server
alone (``edge-only``) over a link fast enough that its bytes hardly count.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path

from dapdee_ros.exits.card import ModelCard
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.device_profile import DeviceProfile
from dapdee_ros.partition.from_card import problem_of
from dapdee_ros.partition.policy import Situation, ask, make_policy
from dapdee_ros.report.run_log import RunLog
from dapdee_ros.runtime.head import HeadSettings
from dapdee_ros.simulation.figures import Figures, figures_of
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Planning, Scenario, Wire
from dapdee_ros.testbed.settings import CODECS, TestbedSettings
from dapdee_ros.testbed.shaping import MTU_BYTES

_ETHERNET_BYTES, _IP_BYTES = 14, 20
_MAX_IN_FLIGHT = 4
_WARM_UP_S = 3.0
_LIMITED = 0.97


@dataclass(frozen=True)
class Overheads:
    """What a frame takes on a testbed beside the profiled network and its bytes.

    Attributes:
        slowdown: of the network on the car, measured over profiled.
        car_s: on the car, in s, for every frame.
        send_s: on the car, in s, for a frame that is sent: packing it, taking its answer.
        rtt_s: round trip of an empty message, in s.
    """

    slowdown: float = 1.0
    car_s: float = 0.0
    send_s: float = 0.0
    rtt_s: float = 0.0


def scenario_of(
    card: ModelCard,
    settings: TestbedSettings,
    folder: Path,
    overheads: Overheads,
    *,
    saturated: bool = False,
) -> Scenario:
    """The scenario that a run on the testbed plays.

    Args:
        card: the model.
        settings: of the run.
        folder: the run's, with the profiles that it measured; of another run with the same machines
            where there is none yet.
        overheads: of the testbed.
        saturated: the next frame comes as soon as one is taken, instead of at the settings' rate.
    """
    utilisation = settings.manager_parameters().get("frame_utilisation")
    planning = replace(Planning(), mode=settings.mode, gates=settings.gates)
    if isinstance(utilisation, float):
        planning = replace(planning, frame_utilisation=utilisation)
    return Scenario(
        problem=problem_of(card, *_profiles(folder), CODECS[settings.codecs]),
        link=parse_link(settings.link),
        curves=card.calibration,
        rtt_s=overheads.rtt_s + 2 * settings.delay_s,
        seconds=settings.seconds + _WARM_UP_S,
        rate_hz=None if saturated else settings.rate,
        head=HeadSettings(settings.deadline, _MAX_IN_FLIGHT),
        planning=planning,
        wire=replace(
            Wire(),
            packet_bytes=MTU_BYTES + _ETHERNET_BYTES,
            packet_header_bytes=_ETHERNET_BYTES + _IP_BYTES,
        ),
        car_overhead_s=overheads.car_s,
        send_overhead_s=overheads.send_s,
        car_load=LoadTrace(slowdowns=(overheads.slowdown,)),
    )


def twin_figures(scenario: Scenario, settings: TestbedSettings) -> Figures:
    """What the simulator says of a run on the testbed, once the link is known."""
    return figures_of(simulate(scenario, settings.asked_policy), _WARM_UP_S)


def overheads_alone(log: RunLog, card: ModelCard, folder: Path) -> Overheads:
    """From a run of the car alone, whose link carries nothing but probes."""
    frames = log.frames
    head_s = statistics.median(f.head_s for f in frames)
    if log.settings["load"] == "light":
        beside_s = statistics.median(f.latency_s - f.head_s for f in frames)
    else:
        # Latency holds the wait for the frame before; but one is always being worked at.
        beside_s = (frames[-1].at_s - frames[0].at_s) / (len(frames) - 1) - head_s
    return Overheads(
        slowdown=head_s / _profiled_s(card, folder),
        car_s=max(0.0, beside_s),
        rtt_s=statistics.median(link.rtt_s for link in log.links if link.rtt_s is not None),
    )


def with_sending(
    overheads: Overheads,
    log: RunLog,
    card: ModelCard,
    settings: TestbedSettings,
    folder: Path,
) -> Overheads:
    """Add what sending takes, from a run in which every frame is sent.

    Args:
        overheads: of the car alone, under the same load; its ``send_s`` is taken where the run
            cannot tell, because link or edge server were busier than the car.
        log: the run.
        card: the model.
        settings: the run's.
        folder: the run's.
    """
    expected = twin_figures(
        scenario_of(card, settings, folder, replace(overheads, send_s=0.0)), settings
    )
    if not settings.is_heavy:
        median_s = statistics.median(f.latency_s for f in log.frames)
        return replace(overheads, send_s=max(0.0, median_s - expected.median_latency_s))
    throughput_hz = len(log.frames) / settings.seconds
    if throughput_hz > _LIMITED * expected.throughput_hz:
        return overheads
    return replace(overheads, send_s=max(0.0, 1 / throughput_hz - overheads.car_s))


def _profiles(folder: Path) -> tuple[DeviceProfile, DeviceProfile]:
    car, edge = (DeviceProfile.load(folder / side / "profile.json") for side in ("car", "edge"))
    return car, edge


def _profiled_s(card: ModelCard, folder: Path) -> float:
    problem = problem_of(card, *_profiles(folder), CODECS["f32"])
    situation = Situation(LinkState(1e6), LoadState(), deadline_s=1.0)
    return ask(make_policy("device-only", problem), situation, problem).head_s
