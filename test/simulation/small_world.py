"""A small network with two exits, times that can be added up by hand, and scenarios with it."""

from __future__ import annotations

from typing import Any

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.exits.gates import Calibration, GateCurve
from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import AsIs, GateOption
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.policy import Problem
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.scenario import BARE_WIRE, Scenario

# Seconds on the car; the edge server is 10 times faster. image -> stem -> body -> final is exit 2,
# stem -> early is exit 1.
CAR_S = {"image": 0.0, "stem": 0.02, "early": 0.01, "body": 0.06, "final": 0.02}
BYTES = {"image": 12_000, "stem": 4_000, "early": 40, "body": 2_000, "final": 40}
READS = {"image": (), "stem": ("image",), "early": ("stem",), "body": ("stem",), "final": ("body",)}
QUALITY = (0.8, 0.95)
GATE = GateOption(1, 2, 0.9, 0.25, 0.93)


def dag() -> ModelDag:
    return ModelDag(
        tuple(
            Node(name, "conv2d", READS[name], (1, size // 4), "float32", size, 1)
            for name, size in BYTES.items()
        ),
        (("early",), ("final",)),
    )


def profile(device: str, factor: float) -> DeviceProfile:
    seconds = {name: factor * s for name, s in CAR_S.items()}
    return DeviceProfile("small", device, 1, seconds, "2026-11-20T00:00:00")


PLANNING = PlanningSettings(
    deadline_s=0.3, mode="latency", plan_margin=0.0, min_dwell_s=0.0, frame_utilisation=0.0
)


def problem(gates: tuple[GateOption, ...] = (), **options: Any) -> Problem:
    return Problem(
        dag(), (profile("car", 1.0), profile("edge", 0.1)), QUALITY, (AsIs(),), gates, **options
    )


def curves() -> Calibration:
    """A calibration whose gate at its one interesting threshold is ``GATE``."""
    curve = GateCurve((0.0, 0.9, 1.0), (1.0, GATE.share, 0.0), {2: (0.8, GATE.quality, 0.95)})
    return Calibration("small", "made up for a test", 100, QUALITY, (1.0, 1.0), {1: curve})


def scenario(link: str = "8mbit", **changes: Any) -> Scenario:
    """A scenario over a bare wire, planned for latency, plans changed at once."""
    values: dict[str, Any] = {
        "problem": problem(),
        "link": parse_link(link),
        "rtt_s": 0.01,
        "seconds": 20.0,
        "rate_hz": 5.0,
        "planning": PLANNING,
        "wire": BARE_WIRE,
        "notes": {"model": "small"},
    }
    return Scenario(**(values | changes))
