"""Settings of a run on the testbed."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.engines.engine import ENGINES
from dapdee_ros.exits.bottlenecks import BOTTLENECKS
from dapdee_ros.planning.policy import sends_plain

LOADS = ("light", "heavy")
CODECS = {
    "f32": ("f32",),
    "all": ("f32", "f16", "u8", "u8z", "u4z", "jpeg", BOTTLENECKS),
}
"""The codecs by the option's value."""

SOURCES = ("roadsigns", "roadscenes", "images", "yolo", "coco")


@dataclass(frozen=True)
class TestbedSettings:
    """One run.

    Attributes:
        model: name of an installed model, or its folder.
        policy: the policy.
        link: the link as text, in the format of ``simulation.link_text``.
        car: the car as text, in the format of ``car_speed``.
        load: ``light``: minimise latency; ``heavy``: more frames than can be answered, maximise
            throughput.
        codecs: ``f32`` or ``all``; with ``all`` policies that send plain tensors may use every
            codec too, so that a codec's gain is not attributed to a policy.
        deadline_s: seconds from a frame to its result; None: 0.3 light, 1 heavy.
        rate_hz: frames per second; None: 10 light, 60 heavy.
        seconds: length of the measurement.
        settle_s: seconds under quota and link before that.
        source: of the camera, one of ``SOURCES``: rendered, or from ``path``.
        path: folder of frames.
        engine: what computes on either side, one of ``ENGINES``.
        threads: inference threads of either side.
        delay_s: propagation delay of each direction in s; needs netem.
        loss_ratio: share of lost packets of each direction; needs netem.
        gates: let a confident early exit end a frame on the car where that helps.
        domain: ROS domain; None: from the process id. Namespaces keep testbeds apart.
    """

    __test__ = False  # not a test class, despite its name

    model: str = "roadsigns"
    policy: str = PlanningSettings.policy
    link: str = "4g"
    car: str = "pi4"
    load: str = "light"
    codecs: str = "all"
    deadline_s: float | None = None
    rate_hz: float | None = None
    seconds: float = 30.0
    settle_s: float = 5.0
    source: str = "roadsigns"
    path: str = ""
    engine: str = ENGINES[0]
    threads: int = 1
    delay_s: float = 0.0
    loss_ratio: float = 0.0
    gates: bool = True
    domain: int | None = None

    def __post_init__(self) -> None:
        if self.load not in LOADS or self.codecs not in CODECS:
            raise ValueError(
                f"expected load {' or '.join(LOADS)} and codecs {' or '.join(CODECS)}, got "
                f"{self.load!r} and {self.codecs!r}"
            )
        if self.engine not in ENGINES:
            raise ValueError(f"expected engine {' or '.join(ENGINES)}, got {self.engine!r}")
        for name in ("deadline_s", "rate_hz", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value}")
        if self.settle_s < 0 or self.delay_s < 0 or not 0 <= self.loss_ratio < 1:
            raise ValueError(
                "settle_s and delay_s must be at least 0 and loss_ratio between 0 and 1, got "
                f"{self.settle_s}, {self.delay_s} and {self.loss_ratio}"
            )

    @property
    def is_heavy(self) -> bool:
        """Whether throughput is maximised."""
        return self.load == "heavy"

    @property
    def deadline(self) -> float:
        """The deadline in s."""
        return self.deadline_s or (1.0 if self.is_heavy else PlanningSettings.deadline_s)

    @property
    def rate(self) -> float:
        """The camera's frames per second."""
        return self.rate_hz or (60.0 if self.is_heavy else 10.0)

    @property
    def mode(self) -> str:
        """What the planner minimises."""
        return "throughput" if self.is_heavy else "latency"

    @property
    def asked_policy(self) -> str:
        """The policy's name as the manager is given it."""
        if self.codecs == "all" and sends_plain(self.policy):
            return f"{self.policy}+any"
        return self.policy

    def manager_parameters(self) -> dict[str, object]:
        """The manager's parameters besides model, policy and deadline."""
        parameters: dict[str, object] = {
            "codecs": list(CODECS[self.codecs]),
            "mode": self.mode,
            "gates": self.gates,
        }
        if self.is_heavy:
            # There are always more frames than can be answered, so a plan need not keep up with
            # them.
            parameters["frame_utilisation"] = 0.0
        return parameters

    @property
    def scenario(self) -> str:
        """Equal for runs that differ at most in policy and codecs."""
        words = f"testbed {self.model} {self.link} {self.car} {self.load}"
        return f"{words} {self.rate:g}Hz {self.deadline:g}s"
