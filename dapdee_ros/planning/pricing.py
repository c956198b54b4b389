"""From priced candidates to plans, and the price of any plan that somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.planning.candidates import BYTES, CAR, EDGE, Candidates, CostBasis, Floats
from dapdee_ros.planning.cost import PlanCost, plan_cost
from dapdee_ros.planning.errors import TableError
from dapdee_ros.planning.plan import Crossing, Plan, Stage

if TYPE_CHECKING:
    from dapdee_ros.planning.situation import Situation


def plan_of(
    basis: CostBasis,
    candidates: Candidates,
    row: int,
    boundary: tuple[str, ...],
    situation: Situation,
    late: bool,
    reason: str,
) -> Plan:
    """One candidate as a plan, with the times it takes in a situation."""
    c, s = candidates, situation
    codec, gate = c.codecs.item(row), c.gates.item(row)
    cost = mean = _cost(c.worst, row, codec >= 0, s)
    option = basis.gates[gate] if gate >= 0 else None
    if option is not None:
        mean = _cost(c.expected, row, codec >= 0, s, 1 - option.share)
    energy_j = 0.0
    if s.energy.any:
        energy_j = s.energy.car_j(mean.stage_s[0], c.expected.item(BYTES, row), mean.latency_s)
    # What a codec spares the car may be more than what frames are known to cost it so far.
    stages: tuple[Stage, ...] = (Stage(s.sites[0].id, max(0.0, cost.stage_s[0])),)
    crossings: tuple[Crossing, ...] = ()
    waiting_s = toll_s = 0.0
    if codec >= 0:
        if s.tolls.any:
            mean_air_s = 8 * c.expected.item(BYTES, row) / s.link.rate_bps if s.link.usable else 0.0
            shared = s.tolls.on(s.waiting_worth, cost.stage_s[1], mean.stage_s[1], mean_air_s)
            waiting_s, toll_s = shared.waiting_s, shared.toll_s
        stages += (Stage(s.sites[1].id, cost.stage_s[1]),)
        sent_bytes = c.worst.item(BYTES, row)
        crossings = (Crossing(boundary, basis.codecs[codec].name, sent_bytes, cost.hop_s[0]),)
    return Plan(
        c.exits.item(row),
        stages,
        crossings,
        option.gate if option else None,
        option.threshold if option else None,
        option.share if option else 0.0,
        s.objective,
        cost.latency_s,
        mean.latency_s,
        mean.period_s,
        c.quality.item(row),
        late,
        reason,
        energy_j,
        waiting_s,
        toll_s,
    )


def _cost(costs: Floats, row: int, sends: bool, s: Situation, sent_share: float = 1.0) -> PlanCost:
    """One column of a table, whose rows are those of one hop, by the formulas over lists."""
    car_s = costs.item(CAR, row)
    if not sends:
        return plan_cost((car_s,), (), s.sites, s.hops, s.window, sent_share)
    part_s, sent_bytes = (car_s, costs.item(EDGE, row)), (costs.item(BYTES, row),)
    return plan_cost(part_s, sent_bytes, s.sites, s.hops, s.window, sent_share)


def price_plan(
    basis: CostBasis,
    exit_number: int,
    boundary: Sequence[str],
    codec: str,
    situation: Situation,
    *,
    gate: int | None = None,
    gate_threshold: float | None = None,
    reason: str = "pinned",
) -> Plan:
    """What any plan would cost, whether or not a table holds it.

    Args:
        basis: the model and its profiles.
        exit_number: the exit.
        boundary: names of the tensors that are sent; empty if the car finishes alone.
        codec: name of one of the codecs; ignored where nothing is sent.
        situation: what it is asked for.
        gate: an exit that may end the frame on the car.
        gate_threshold: one of its calibrated thresholds; None takes the first.
        reason: goes into the plan.

    Raises:
        GraphError: if there is no such exit or the boundary is not one of its cuts.
        PlanningError: if codec or gate are unknown, or a value makes no sense.
    """
    if boundary:
        basis.codec(codec)
    head = head_of(basis.dag, exit_number, boundary)
    in_order = tuple(node.name for node in basis.dag.nodes if node.name in frozenset(boundary))
    wanted = replace(
        basis,
        codecs=tuple(c for c in basis.codecs if c.name == codec),
        gates=tuple(
            o
            for o in basis.gates
            if (o.gate, o.exit_number) == (gate, exit_number)
            and gate_threshold in (None, o.threshold)
        )[:1],
    )
    priced = wanted.price(exit_number, np.array([[n.name in head for n in basis.dag.nodes]]))
    rows = np.flatnonzero((priced.gates >= 0) == (gate is not None))
    if not len(rows):
        raise TableError(
            f"no price for exit {exit_number}, boundary {list(in_order)}, codec {codec!r}, gate "
            f"{gate} at {gate_threshold}: the codec was not measured at this boundary, or the gate "
            "is not calibrated there or not inside this head"
        )
    plan = plan_of(wanted, priced, int(rows[0]), in_order, situation, False, reason)
    return replace(plan, late=plan.is_late(situation.deadline_s))
