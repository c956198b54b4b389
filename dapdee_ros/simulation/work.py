"""What plans mean for the two machines: seconds and bytes of each step of a frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

from dapdee_ros.core.frames import FramePlan
from dapdee_ros.partition.gate_options import GateCurves
from dapdee_ros.partition.plan import Plan, PlanKey
from dapdee_ros.partition.policy import Problem
from dapdee_ros.runtime.split_network import HeadProgram, SplitNetwork


@dataclass(frozen=True)
class PlanWork:
    """A plan, worked out; seconds as profiled, slowdowns not counted in.

    Attributes:
        program: what the head does.
        encode_s: coding the boundary on the car.
        coded_bytes: what is sent.
        decode_s: decoding it on the edge server.
        tail_s: the tail's nodes on the edge server.
        accuracy: expected share of right answers, gate and codec counted in.
        gate_share: share of the frames that its gate ends.
    """

    program: HeadProgram
    encode_s: float
    coded_bytes: float
    decode_s: float
    tail_s: float
    accuracy: float
    gate_share: float


class Workbook:
    """Works out plans for one problem, each once; the head's own code says what a plan means.

    Attributes:
        alone: what the car does without a plan, one program an exit, shallowest first.
    """

    def __init__(self, problem: Problem, curves: GateCurves | None = None) -> None:
        """Prepare for a problem; ``curves`` are its calibrated gates."""
        self._problem = problem
        self._curves = curves
        self._car = _network(problem, problem.car)
        self._edge = _network(problem, problem.edge)
        self._known: dict[PlanKey, PlanWork] = {}
        self.alone = [
            self._bare(FramePlan(0, number)) for number in range(1, len(problem.dag.exits) + 1)
        ]

    def of(self, plan: Plan, epoch: int) -> PlanWork:
        """What a plan means.

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
            plan.transfer_s + plan.edge_s,
        )
        work = self._known.get(plan.key)
        if work is None:
            work = self._known[plan.key] = self._work(plan, frame_plan)
        return replace(work, program=replace(work.program, plan=frame_plan))

    def accuracy(self, work: PlanWork, exit_number: int, fallback: bool) -> float:
        """Expected accuracy of a frame that started under a plan and ended at an exit.

        With a gate the mean over those that it ends and those that go on counts for both: only
        that was calibrated, and its mean over the frames is the same.
        """
        plan = work.program.plan
        if not fallback:
            return work.accuracy
        if plan.gate is not None and exit_number > plan.gate and self._curves is not None:
            return self._curves.accuracy(plan.gate, exit_number, plan.gate_threshold)
        return self._problem.exit_accuracy[exit_number - 1]

    def _work(self, plan: Plan, frame_plan: FramePlan) -> PlanWork:
        program = self._car.head_program(frame_plan)
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
        accuracy = plan.accuracy
        return PlanWork(program, encode_s, coded, decode_s, tail_s, accuracy, plan.gate_share)

    def _bare(self, plan: FramePlan) -> PlanWork:
        accuracy = self._problem.exit_accuracy[plan.exit_number - 1]
        return PlanWork(self._car.head_program(plan), 0.0, 0.0, 0.0, 0.0, accuracy, 0.0)


def _network(problem: Problem, profile: Any) -> SplitNetwork:
    """The head's and the edge's view of the network, with nothing that could compute it."""
    card = SimpleNamespace(dag=problem.dag, calibration=None)
    model = SimpleNamespace(card=card, runner=None)
    return SplitNetwork(cast("Any", model), profile)


def seconds(profiled_s: float, slowdown: float) -> float:
    """What profiled seconds take; those that are not known take none."""
    return 0.0 if math.isnan(profiled_s) else profiled_s * slowdown
