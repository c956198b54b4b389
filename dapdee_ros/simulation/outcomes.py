"""The outcome of a simulation: how frames ended, the plans, and the log."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from dapdee_ros.core.frames import FrameResult
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.sites import own_name
from dapdee_ros.report.run_log import FrameRecord, PlanRecord, RunLog
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.tasks.records import NO_ANSWER, Record


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a frame ended.

    Attributes:
        at_s: when.
        result: its result, as the head publishes it; nothing is classified in it.
        quality: expected share of right answers of frames like this.
    """

    at_s: float
    result: FrameResult
    quality: float

    @property
    def accepted_s(self) -> float:
        """The frame's arrival, in s."""
        return self.at_s - self.result.latency_s


@dataclass(frozen=True)
class DecidedPlan:
    """A plan: when it was decided (s), its number, why, and the plan itself."""

    at_s: float
    epoch: int
    why: str
    plan: Plan

    def record(self, policy: str, scenario: Scenario) -> PlanRecord:
        """As the run's log holds it."""
        plan = self.plan
        return PlanRecord(
            self.at_s, self.epoch, plan.exit_number, list(plan.boundary), plan.codec, plan.late,
            plan.expected_latency_s, self.why, policy, str(plan.objective),
            scenario.planning.deadline_s, plan.quality if scenario.quality_known else None,
            plan.energy_j,
        )  # fmt: skip


@dataclass(frozen=True)
class SimulatedRun:
    """The outcome of a run.

    Attributes:
        log: the log, in the common format.
        outcomes: the results in order of arrival.
        quality: mean expected quality over the results, NaN without any or where an exit's is
            not known.
        complaints: the policy's failures, as text, with their counts.
        plans: plans in order.
        links: estimates of the link, each with its time in s.
    """

    log: RunLog
    outcomes: list[Outcome]
    quality: float
    complaints: dict[str, int]
    plans: list[DecidedPlan]
    links: list[tuple[float, LinkEstimate]]


def frame_record(
    outcome: Outcome,
    *,
    answer: Record = NO_ANSWER,
    score: float = 0.0,
    truth: Record | None = None,
) -> FrameRecord:
    """A frame's record in the log.

    Args:
        outcome: how it ended.
        answer: the answer as its task records it; ``NO_ANSWER`` where no network runs.
        score: how surely.
        truth: what it shows, recorded likewise, as far as that is known.
    """
    result = outcome.result
    return FrameRecord(
        at_s=outcome.at_s,
        number=result.number,
        answer=answer,
        truth=truth,
        score=score,
        exit_number=result.exit_number,
        place=result.place.word,
        plan_epoch=result.plan.epoch,
        head_s=result.head_s,
        transfer_s=result.transfer_s,
        tail_s=result.tail_s,
        latency_s=result.latency_s,
        sent_bytes=result.sent_bytes,
        codec=result.plan.codec if result.sent_bytes else "",
        deadline_s=result.deadline_s,
        server=own_name(result.server),
    )


def scenario_settings(scenario: Scenario, policy: str) -> dict[str, Any]:
    """The run's settings for the log; the same ``scenario`` for the same input."""
    problem = scenario.problem
    settings: dict[str, Any] = {
        "source": "simulator",
        "model_id": problem.car.model_id,
        "link": scenario.link.name,
        "rtt_s": scenario.rtt_s,
        "car": problem.car.device,
        "edge": problem.edge.device,
        "load": "heavy" if scenario.rate_hz is None else "light",
        "rate_hz": scenario.rate_hz,
        "seconds": scenario.seconds,
        "seed": scenario.seed,
        "jitter": scenario.jitter,
        "deadline_s": scenario.planning.deadline_s,
        "max_in_flight": scenario.planning.max_in_flight,
        "mode": str(scenario.planning.wanted),
        "codecs": [codec.name for codec in problem.codecs],
        "car_slowdown": [*zip(scenario.car_load.edges_s, scenario.car_load.slowdowns, strict=True)],
        "edge_slowdown": [
            *zip(scenario.edge_load.edges_s, scenario.edge_load.slowdowns, strict=True)
        ],
        "overheads": {
            side: asdict(profile.overhead)
            for side, profile in (("car", problem.car), ("edge", problem.edge))
            if profile.overhead.any
        },
        **scenario.notes,
    }
    words = json.dumps(settings, sort_keys=True, default=str)
    settings["scenario"] = f"simulated-{zlib.crc32(words.encode()):08x}"
    settings["policy"] = policy
    return settings
