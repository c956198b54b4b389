"""From priced candidates to plans, and the price of any plan that somebody asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.partition.candidates import BYTES, CAR, EDGE, Candidates, CostBasis
from dapdee_ros.partition.cost import (
    FREE,
    EnergyPrices,
    LinkState,
    LoadState,
    check_deadline,
    resolve_objective,
    split_cost,
)
from dapdee_ros.partition.errors import TableError
from dapdee_ros.partition.objective import Objective
from dapdee_ros.partition.plan import NO_CODEC, Plan


def plan_of(
    basis: CostBasis,
    candidates: Candidates,
    row: int,
    boundary: tuple[str, ...],
    link: LinkState,
    load: LoadState,
    objective: Objective,
    late: bool,
    reason: str,
    energy: EnergyPrices = FREE,
) -> Plan:
    """One candidate as a plan, with the times it takes under a link and a load."""
    c = candidates
    codec, gate = c.codecs.item(row), c.gates.item(row)
    sends = codec >= 0
    sent_bytes = c.worst.item(BYTES, row)
    cost = split_cost(
        c.worst.item(CAR, row), sent_bytes, c.worst.item(EDGE, row), sends, link, load
    )
    option = basis.gates[gate] if gate >= 0 else None
    mean, mean_bytes = cost, sent_bytes
    if option is not None:
        car_s, mean_bytes, edge_s = (c.expected.item(i, row) for i in (CAR, BYTES, EDGE))
        mean = split_cost(car_s, mean_bytes, edge_s, sends, link, load, 1 - option.share)
    return Plan(
        c.exits.item(row),
        boundary,
        basis.codecs[codec].name if sends else NO_CODEC,
        option.gate if option else None,
        option.threshold if option else None,
        option.share if option else 0.0,
        objective,
        cost.head_s,
        cost.transfer_s,
        cost.edge_s,
        cost.latency_s,
        mean.latency_s,
        mean.period_s,
        sent_bytes,
        c.quality.item(row),
        late,
        reason,
        energy.car_j(mean.head_s, mean_bytes, mean.latency_s) if energy.any else 0.0,
    )


def price_plan(
    basis: CostBasis,
    exit_number: int,
    boundary: Sequence[str],
    codec: str,
    link: LinkState,
    load: LoadState,
    deadline_s: float,
    mode: str | Objective = "auto",
    *,
    gate: int | None = None,
    gate_threshold: float | None = None,
    reason: str = "pinned",
    energy: EnergyPrices = FREE,
) -> Plan:
    """What any plan would cost, whether or not a table holds it.

    Args:
        basis: the model and its profiles.
        exit_number: the exit.
        boundary: names of the tensors that are sent; empty if the car finishes alone.
        codec: name of one of the codecs; ignored where nothing is sent.
        link: the link.
        load: slowdowns of both sides.
        deadline_s: seconds from image to result.
        mode: an objective, its name (``latency``, ``throughput``) or ``auto``.
        gate: an exit that may end the frame on the car.
        gate_threshold: one of its calibrated thresholds; None takes the first.
        reason: goes into the plan.
        energy: prices of the car's energy.

    Raises:
        GraphError: if there is no such exit or the boundary is not one of its cuts.
        PlanningError: if codec or gate are unknown, or a value makes no sense.
    """
    check_deadline(deadline_s)
    objective = resolve_objective(mode, load)
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
    plan = plan_of(
        wanted, priced, int(rows[0]), in_order, link, load, objective, False, reason, energy
    )
    return replace(plan, late=not plan.latency_s <= deadline_s)
