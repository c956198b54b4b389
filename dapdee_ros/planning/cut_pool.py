"""Candidates by minimum cuts, for networks whose legal cuts are too many to list.

Instead of all cuts a table holds those that minimum cuts find: of each exit, with each gate's trunk
on the car, with and without the tensors that may not be sent. Hard conditions, deadline, gates and
the frames' period are then judged as in any other table. Boundaries of a single tensor are few and
all listed, and so are those for which a codec's loss was measured one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.planning.candidates import Candidates
from dapdee_ros.planning.codec_cost import CodecCost, MeasuredCodec
from dapdee_ros.planning.enumeration import undominated
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.table import CandidateTable

Head = frozenset[str]

# Rates at which cuts are searched if only the future rate matters, bit/s.
_ANY_RATES_BPS = tuple(np.geomspace(1e4, 1e9, 16).tolist())
# Minimum cuts of one exit and gate that look for the lowest period.
_PERIOD_CUTS = 120
# More heads than this are forgotten, but for those of the last question.
_MOST_HEADS = 2000


class CutPool:
    """Heads found so far, and tables of them. Grows with the requests."""

    def __init__(self, problem: Problem) -> None:
        """Prepare for this problem: heads that need no search."""
        self._problem = problem
        self._exits = range(1, len(problem.dag.exits) + 1)
        self._heads: dict[int, set[Head]] = {n: set(self._simple_heads(n)) for n in self._exits}
        self._table: CandidateTable | None = None

    def table(self, situation: Situation) -> CandidateTable:
        """The candidates for a situation.

        ``exact_up_to`` is infinite where the best plan of the situation is certainly among them:
        for the lowest latency, if the deadline is judged at the estimated rate and no period is
        asked for. Otherwise it is 0: nothing is claimed, the best period may be one that no minimum
        cut finds.
        """
        found = {n: set(self._searched(n, situation)) for n in self._exits}
        if any(not found[n] <= self._heads[n] for n in self._exits) or self._table is None:
            if sum(map(len, self._heads.values())) > _MOST_HEADS:
                self._heads = {n: set(self._simple_heads(n)) for n in self._exits}
            for number in self._exits:
                self._heads[number] |= found[number]
            self._table = self._priced()
        certain = (
            situation.objective.is_latency
            and situation.risk == 0.5
            and situation.most_period_s == math.inf
            and situation.true_transfer_s is None
            # What is allowed of each tensor alone may not be of several.
            and not (situation.keep_raw_on_car and situation.keep_raw_on_car_ssim < 1)
        )
        self._table.exact_up_to = math.inf if certain else 0.0
        return self._table

    def _priced(self) -> CandidateTable:
        basis = self._problem.basis
        names = [node.name for node in basis.dag.nodes]
        parts = []
        for number, heads in self._heads.items():
            rows = sorted(([name in head for name in names] for head in heads), key=sum)
            parts.append(basis.price(number, np.array(rows)))
        every = Candidates.join(parts)
        return CandidateTable(
            basis, self._problem.car.model_id, every.take(undominated(every)), basis.dag
        )

    def _simple_heads(self, exit_number: int) -> Iterator[Head]:
        """The car alone, every boundary of one tensor, every boundary with a loss of its own."""
        dag = self._problem.dag
        part = dag.exit_part(exit_number)
        yield part
        boundaries: set[tuple[str, ...]] = {(name,) for name in part}
        for codec in self._problem.codecs:
            if isinstance(codec, MeasuredCodec):
                boundaries |= {names for number, names in codec.losses if number == exit_number}
        for boundary in boundaries:
            try:
                yield head_of(dag, exit_number, boundary)
            except GraphError:
                continue

    def _searched(self, exit_number: int, situation: Situation) -> Iterator[Head]:
        """What minimum cuts find for a situation."""
        best = max(
            [self._problem.exit_quality[exit_number - 1]]
            + [o.quality for o in self._problem.gates if o.exit_number == exit_number]
        )
        if best < situation.quality_floor or not situation.link.usable:
            return
        for codec in self._problem.codecs:
            if codec.quality_loss(exit_number, ()) is None:
                continue  # measured boundary by boundary, and those are all there
            for trunk in self._trunks(exit_number, situation):
                yield from self._cut(exit_number, codec, trunk, situation)

    def _trunks(self, exit_number: int, situation: Situation) -> Iterable[Head]:
        """What has to run on the car: nothing, or a gate's part as far as it is the exit's too."""
        dag = self._problem.dag
        part = dag.exit_part(exit_number)
        gates = {o.gate for o in self._problem.gates if o.exit_number == exit_number}
        trunks = {frozenset[str]()}
        if situation.gates:
            trunks |= {dag.exit_part(gate) & part for gate in gates}
        return trunks

    def _cut(
        self, exit_number: int, codec: CodecCost, trunk: Head, situation: Situation
    ) -> Iterator[Head]:
        from dapdee_ros.planning.heavy_search import heavy_search
        from dapdee_ros.planning.min_cut import CutCosts, minimum_cut

        dag, link = self._problem.dag, situation.link
        if situation.true_transfer_s is not None:
            rates = _ANY_RATES_BPS
        else:
            rates = tuple({link.rate_bps, link.pessimistic_bps(situation.risk)})
        by_period = not situation.objective.is_latency or situation.most_period_s < math.inf
        for rate in rates:
            at_rate = situation.over(replace(link, rate_bps=rate, connected=True))
            costs = CutCosts.of_situation(self._problem, exit_number, codec, at_rate)
            if situation.keep_raw_on_car:
                exposures = self._problem.exposures
                costs = costs.without(
                    {
                        node.name
                        for node in dag.nodes
                        if exposures.of(dag, (node.name,), codec.name) > situation.most_exposure
                    }
                )
            yield minimum_cut(dag, costs, on_car=trunk)
            if by_period:
                yield from heavy_search(
                    dag, exit_number, costs, max_cuts=_PERIOD_CUTS, on_car=trunk
                ).heads
