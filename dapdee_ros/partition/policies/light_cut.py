"""Algorithm 1 of DAPDEE (light load): the minimum cut of one exit as a plan."""

from __future__ import annotations

from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.partition.codec_cost import CodecCost
from dapdee_ros.partition.heavy_search import SearchResult, heavy_search
from dapdee_ros.partition.min_cut import CutCosts, fastest_split
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Problem, Situation


def light_plan(problem: Problem, exit_number: int, situation: Situation, reason: str) -> Plan:
    """The split with the lowest latency, over the problem's codecs."""
    plans = []
    for codec in problem.codecs:
        costs = _costs(problem, exit_number, situation, codec.name)
        split = fastest_split(problem.dag, exit_number, costs)
        plans.append(_priced(problem, exit_number, situation, split.boundary, codec, reason))
    return min(plans, key=lambda plan: plan.latency_s)


def heavy_plan(
    problem: Problem,
    exit_number: int,
    situation: Situation,
    reason: str,
    **options: float,
) -> Plan:
    """The split that the search of algorithms 2 and 3 finds, over the problem's codecs."""
    plans = []
    for codec in problem.codecs:
        costs = _costs(problem, exit_number, situation, codec.name)
        found: SearchResult = heavy_search(problem.dag, exit_number, costs, **options)  # type: ignore[arg-type]
        capped = ", grid capped" if found.capped else ""
        text = f"{reason} after {found.cuts} cuts{capped}"
        plans.append(_priced(problem, exit_number, situation, found.split.boundary, codec, text))
    return min(plans, key=lambda plan: plan.period_s)


def _priced(
    problem: Problem,
    exit_number: int,
    situation: Situation,
    boundary: tuple[str, ...],
    codec: CodecCost,
    reason: str,
) -> Plan:
    """The plan; instead of one that loses nobody knows how much, all on the car."""
    if boundary and codec.accuracy_loss(exit_number, boundary) is None:
        boundary, reason = (), f"{reason}, {codec.name} not measured there"
    return situation.price(problem, exit_number, boundary, codec.name, reason)


def _costs(problem: Problem, exit_number: int, situation: Situation, codec: str) -> CutCosts:
    dag: ModelDag = problem.dag
    return CutCosts.of(
        dag,
        exit_number,
        problem.car,
        problem.edge,
        problem.basis.codec(codec),
        situation.link,
        situation.load,
    )
