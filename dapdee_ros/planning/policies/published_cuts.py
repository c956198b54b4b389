"""Algorithms 1 to 3 of DAPDEE as plans: one exit's cut for a light and for a heavy load.

Where the legal cuts of an exit can be listed they are compared: the lowest sum is the minimum cut
(algorithm 1), and the splits that some scaled sum makes the cheapest are what a grid of any step
can find (algorithms 2 and 3, ``scaled_sums``). Otherwise minimum cuts are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dapdee_ros.graph.cuts import TooManyCuts
from dapdee_ros.planning.candidates import BYTES, CAR, EDGE, SENDS, Candidates, Floats, Ints
from dapdee_ros.planning.codec_cost import CodecCost
from dapdee_ros.planning.enumeration import every_cut
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.pricing import plan_of
from dapdee_ros.planning.scaled_sums import lowest_reachable
from dapdee_ros.planning.view import Weights, cost_weights


class PublishedCuts:
    """Cuts of a problem's exits, over its codecs."""

    def __init__(self, problem: Problem, max_cuts: int = 400) -> None:
        """Prepare; ``max_cuts`` is how many minimum cuts a search may take, if it needs any."""
        self._problem = problem
        self._max_cuts = max_cuts
        self._listed: dict[int, Candidates | None] = {}

    def light(self, exit_number: int, situation: Situation, reason: str) -> Plan:
        """The split with the lowest latency."""
        listed = self._cuts_of(exit_number)
        if listed is None:
            return self._light_cut(exit_number, situation, reason)
        weights = cost_weights(situation.sites, situation.hops)
        rows = np.flatnonzero(situation.link.usable | (listed.worst[SENDS] == 0))
        row = rows[(weights @ listed.worst[:, rows]).argmin()]
        return self._plan(listed, row, situation, reason)

    def heavy(self, exit_number: int, situation: Situation, reason: str) -> Plan:
        """The split with the lowest period that the search can find.

        Never worse than ``light``: that is the search's point (1, 1).
        """
        listed = self._cuts_of(exit_number)
        if listed is None:
            return self._heavy_search(exit_number, situation, reason)
        weights = Weights.of(situation.sites, situation.link)
        plans = []
        for codec, rows in self._by_codec(listed, situation):
            costs = weights.unit_s[:, None] * listed.worst[:, rows]
            period_s = weights.period_s(listed.worst[:, rows], situation.window)
            spans = self._spans(exit_number, codec, situation)
            best = lowest_reachable(costs[[CAR, BYTES, EDGE]], period_s, spans)
            # The light cut: the cheapest at (1, 1) or, since no scaled sum knows of the round trip,
            # the car alone.
            light = int(costs.sum(axis=0).argmin())
            best = min(best, light, key=period_s.__getitem__)
            text = f"{reason}, any grid over {len(rows)} cuts"
            plans.append(self._plan(listed, rows[best], situation, text))
        return min(plans, key=lambda plan: plan.period_s)

    def _cuts_of(self, exit_number: int) -> Candidates | None:
        if exit_number not in self._listed:
            try:
                basis = replace(self._problem.basis, gates=())
                limit = self._problem.most_cuts
                self._listed[exit_number] = every_cut(basis, exit_number, limit=limit)
            except TooManyCuts:
                self._listed[exit_number] = None
        return self._listed[exit_number]

    def _by_codec(
        self, listed: Candidates, situation: Situation
    ) -> Iterator[tuple[CodecCost, Ints]]:
        """Each codec with its splits and the car alone."""
        for number, codec in enumerate(self._problem.codecs):
            coded = (listed.codecs == number) & situation.link.usable
            yield codec, np.flatnonzero(coded | (listed.codecs < 0))

    def _spans(
        self, exit_number: int, codec: CodecCost, situation: Situation
    ) -> tuple[float, float]:
        """How far the printed grid goes: all seconds of a side over the shortest transfer.

        And one step more, since its refinement may reach as far.
        """
        basis, link = self._problem.basis, situation.link
        part = basis.part(exit_number)
        coded = [codec.tensor(n) for n, inside in zip(basis.dag.nodes, part, strict=True) if inside]
        sizes = [cost.coded_bytes for cost in coded if cost is not None and cost.coded_bytes > 0]
        if not sizes or not link.usable:
            return 1.0, 1.0
        shortest_s = 8 * min(sizes) / link.rate_bps

        def span(slowdown: float, seconds: Floats) -> float:
            return slowdown * float(seconds[part].sum()) / shortest_s + 1

        car, edge = situation.sites
        return span(car.slowdown, basis.car_s), span(edge.slowdown, basis.edge_s)

    def _plan(self, listed: Candidates, row: int, situation: Situation, reason: str) -> Plan:
        names = [node.name for node in self._problem.dag.nodes]
        boundary = tuple(names[i] for i in np.flatnonzero(listed.boundaries[row]))
        plan = plan_of(self._problem.basis, listed, int(row), boundary, situation, False, reason)
        return replace(plan, late=not plan.latency_s <= situation.deadline_s)

    # --- where there are too many cuts to list: networkx is loaded only then --------------------

    def _light_cut(self, exit_number: int, situation: Situation, reason: str) -> Plan:
        from dapdee_ros.planning.min_cut import CutCosts, fastest_split

        plans = []
        for codec in self._problem.codecs:
            costs = CutCosts.of_situation(self._problem, exit_number, codec, situation)
            split = fastest_split(self._problem.dag, exit_number, costs)
            plans.append(self._measured(exit_number, situation, split.boundary, codec, reason))
        return min(plans, key=lambda plan: plan.latency_s)

    def _heavy_search(self, exit_number: int, situation: Situation, reason: str) -> Plan:
        from dapdee_ros.planning.heavy_search import heavy_search
        from dapdee_ros.planning.min_cut import CutCosts

        plans = [self._light_cut(exit_number, situation, f"{reason}, the light cut")]
        for codec in self._problem.codecs:
            costs = CutCosts.of_situation(self._problem, exit_number, codec, situation)
            found = heavy_search(self._problem.dag, exit_number, costs, max_cuts=self._max_cuts)
            capped = ", grid capped" if found.capped else ""
            text = f"{reason} after {found.cuts} cuts{capped}"
            plans.append(self._measured(exit_number, situation, found.split.boundary, codec, text))
        return min(plans, key=lambda plan: plan.period_s)

    def _measured(
        self,
        exit_number: int,
        situation: Situation,
        boundary: tuple[str, ...],
        codec: CodecCost,
        reason: str,
    ) -> Plan:
        """The plan; instead of one that loses nobody knows how much, all on the car."""
        if boundary and codec.quality_loss(exit_number, boundary) is None:
            boundary, reason = (), f"{reason}, {codec.name} not measured there"
        return situation.price(self._problem, exit_number, boundary, codec.name, reason)
