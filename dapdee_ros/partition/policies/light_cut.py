"""Algorithm 1 of DAPDEE (light load): the minimum cut of one exit as a plan."""

from __future__ import annotations

from dapdee_ros.graph.dag import ModelDag
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
        plans.append(situation.price(problem, exit_number, split.boundary, codec.name, reason))
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
        plans.append(
            situation.price(
                problem,
                exit_number,
                found.split.boundary,
                codec.name,
                f"{reason} after {found.cuts} cuts{capped}",
            )
        )
    return min(plans, key=lambda plan: plan.period_s)


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
