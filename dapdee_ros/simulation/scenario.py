"""What is simulated: one model on two machines, a link, frames, and how plans are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.planning.gate_options import GateCurves
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.sites import Site
from dapdee_ros.simulation.link_trace import LinkTrace
from dapdee_ros.simulation.load_trace import LoadTrace
from dapdee_ros.tasks.classification import Classifier


class ScenarioError(ValueError):
    """An invalid simulation; the message says what was expected and what was given."""


@dataclass(frozen=True)
class Wire:
    """Overheads of messages on the link; measured on serialised messages.

    Attributes:
        frame_bytes: a HeadTensor with one tensor spec, its data left out.
        answer_bytes: an InferenceResult with five classes.
        probe_bytes: a Probe without padding.
        packet_bytes: largest packet.
        packet_header_bytes: IPv4 and UDP.
    """

    frame_bytes: int = 170
    answer_bytes: int = 250
    probe_bytes: int = 36
    packet_bytes: int = 1500
    packet_header_bytes: int = 28

    def on_link(self, message_bytes: float) -> float:
        """Bytes that a message takes on the link, packet headers included."""
        payload = self.packet_bytes - self.packet_header_bytes
        return message_bytes + math.ceil(message_bytes / payload) * self.packet_header_bytes


BARE_WIRE = Wire(0, 0, 0, 1500, 0)
"""Nothing but data crosses the link: the cost model's own assumption."""


@dataclass(frozen=True)
class Scenario:
    """Everything about a simulation but the policy.

    Attributes:
        problem: model, profiles, codecs, gates. What a frame costs a site beside the network is
            what its profile says (``DeviceProfile.overhead``), whatever its slowdown.
        link: uplink capacity over time; the downlink has the same.
        curves: the calibrated gates, for the quality of frames that end at one; None without.
        rtt_s: round trip of an empty message, in s.
        seconds: how long frames arrive.
        rate_hz: frames per second; None: the next frame comes as soon as one is taken (heavy load).
        jitter: most that a frame comes early or late, as a share of the time between two, 0 to 0.5.
        seed: of jitter and of the frames' difficulty.
        planning: the manager's settings; deadline and window are those of its plans, and the
            head's before the first.
        car_load: the car's slowdown over time.
        edge_load: the edge server's.
        known_link: the manager knows a fixed link's rate and a frame's round trip from the start,
            and plans once: to compare policies where what they know of the link is not in question.
        wire: the overheads of messages.
        queue_bytes: size of the link's queue; what does not fit is lost.
        burst_bytes: how much an idle link passes instantly, like a token bucket; a radio: none.
        labels: class names, for the log.
        task: name of the model's task, for the log.
        quality_known: False if the exits' qualities were never measured (timing only).
        notes: further settings for the log.

    Raises:
        ScenarioError: at construction, if a value is invalid.
    """

    problem: Problem
    link: LinkTrace
    curves: GateCurves | None = None
    rtt_s: float = 0.02
    seconds: float = 60.0
    rate_hz: float | None = 10.0
    jitter: float = 0.0
    seed: int = 0
    planning: PlanningSettings = field(default_factory=PlanningSettings)
    car_load: LoadTrace = field(default_factory=LoadTrace)
    edge_load: LoadTrace = field(default_factory=LoadTrace)
    known_link: bool = False
    wire: Wire = field(default_factory=Wire)
    queue_bytes: int = 100_000_000
    burst_bytes: int = 0
    labels: tuple[str, ...] = ()
    task: str = Classifier.name
    quality_known: bool = True
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def check(name: str, good: bool, expected: str) -> None:
            if not good:
                raise ScenarioError(f"{name} is {getattr(self, name)}; expected {expected}")

        check("rtt_s", 0 <= self.rtt_s < math.inf, "a finite number of 0 or more")
        check("seconds", 0 < self.seconds < math.inf, "a finite number above 0")
        check(
            "rate_hz",
            self.rate_hz is None or 0 < self.rate_hz < math.inf,
            "a finite number of frames a second above 0",
        )
        check("jitter", 0 <= self.jitter <= 0.5, "0 to 0.5 of the time between two frames")
        check("seed", self.seed >= 0, "a whole number of 0 or more")
        if self.known_link and not (len(self.link.rates_bps) == 1 and self.link.rates_bps[0] > 0):
            raise ScenarioError(
                f"the link {self.link.name} changes or is dead; only a fixed one can be known from "
                "the start"
            )

    @property
    def head(self) -> HeadSettings:
        """The head's settings."""
        return HeadSettings(self.planning.deadline_s, self.planning.max_in_flight)

    def sites(self, now_s: float) -> tuple[Site, ...]:
        """Car and edge server as they truly are at a time."""
        return self.problem.sites(self.car_load.at(now_s), self.edge_load.at(now_s))

    @property
    def answer_s(self) -> float:
        """Longest that a frame can take to end after it came."""
        # Before it the car may have to finish every frame of the window, and one more.
        frames = self.planning.max_in_flight + 2
        slowest_s = self.problem.car.total_s * max(self.car_load.slowdowns)
        return self.planning.deadline_s + frames * slowest_s
