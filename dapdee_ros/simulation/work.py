"""What plans mean for the two machines: seconds and bytes of each step of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dapdee_ros.core.frames import FramePlan
from dapdee_ros.core.programs import HeadProgram, Programs
from dapdee_ros.planning.gate_options import GateCurves
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem


@dataclass(frozen=True)
class PlanWork:
    """What a plan takes beside what its ``HeadProgram`` says; seconds as profiled.

    Attributes:
        encode_s: coding the boundary on the car.
        coded_bytes: what is sent.
        decode_s: decoding it on the edge server.
        tail_s: the tail's nodes on the edge server.
        quality: expected share of right answers, gate and codec counted in.
        gate_share: share of the frames that its gate ends.
    """

    encode_s: float
    coded_bytes: float
    decode_s: float
    tail_s: float
    quality: float
    gate_share: float


class Workbook:
    """Works out plans for one problem, each once.

    Attributes:
        alone: what the car does without a plan, one program per exit, shallowest first.
    """

    def __init__(self, problem: Problem, curves: GateCurves | None = None) -> None:
        """Prepare for a problem; ``curves`` are its calibrated gates."""
        self._problem = problem
        self._curves = curves
        self._car = Programs(problem.dag, problem.car, problem.points)
        self._edge = Programs(problem.dag, problem.edge, problem.points)
        self._programs: dict[tuple[object, ...], HeadProgram] = {}
        self._known: dict[tuple[object, ...], PlanWork] = {}
        self.alone = self._car.alone()
        for program in self.alone:
            quality = problem.exit_quality[program.plan.exit_number - 1]
            self._known[_key(program.plan)] = PlanWork(0.0, 0.0, 0.0, 0.0, quality, 0.0)

    def program(self, plan: Plan, epoch: int) -> HeadProgram:
        """What the head does under a plan.

        Raises:
            GraphError: if it does not fit the network.
        """
        frame_plan = FramePlan(
            epoch,
            plan.exit_number,
            plan.boundary,
            plan.codec,
            plan.gate,
            plan.gate_threshold if plan.gate_threshold is not None else 1.0,
            # A plan over a dead link waits for ever in theory; to the head that is not known.
            plan.transfer_s + plan.edge_s if math.isfinite(plan.transfer_s) else math.nan,
            predicted_transfer_s=plan.transfer_s if math.isfinite(plan.transfer_s) else math.nan,
        )
        key = _key(frame_plan)
        if key not in self._programs:
            self._programs[key] = self._car.head_program(frame_plan)
            self._known[key] = self._work(plan)
        return replace(self._programs[key], plan=frame_plan)

    def work(self, program: HeadProgram) -> PlanWork:
        """What a program of this book takes."""
        return self._known[_key(program.plan)]

    def quality(self, plan: FramePlan, exit_number: int, fallback: bool) -> float:
        """Expected quality of a frame that started under a plan and ended at an exit.

        With a gate the mean over those that it ends and those that go on counts for both: only
        that was calibrated, and its mean over the frames is the same.
        """
        if not fallback:
            return self._known[_key(plan)].quality
        if plan.gate is not None and exit_number > plan.gate and self._curves is not None:
            return self._curves.quality(plan.gate, exit_number, plan.gate_threshold)
        return self._problem.exit_quality[exit_number - 1]

    def _work(self, plan: Plan) -> PlanWork:
        coded = encode_s = decode_s = tail_s = 0.0
        if plan.boundary:
            codec = self._problem.basis.codec(plan.codec)
            for name in plan.boundary:
                cost = codec.tensor(self._problem.dag.by_name[name])
                if cost is not None:
                    coded += cost.coded_bytes
                    encode_s += cost.encode_s
                    decode_s += cost.decode_s
            tail_s = self._edge.tail_program(plan.exit_number, frozenset(plan.boundary)).profiled_s
        return PlanWork(encode_s, coded, decode_s, tail_s, plan.quality, plan.gate_share)


def _key(plan: FramePlan) -> tuple[object, ...]:
    return (plan.exit_number, plan.boundary, plan.codec, plan.gate, plan.gate_threshold)


def seconds(profiled_s: float, slowdown: float) -> float:
    """What profiled seconds take; those that are not known take none."""
    return 0.0 if math.isnan(profiled_s) else profiled_s * slowdown
