"""Algorithms 2 and 3 of DAPDEE: the search for the highest throughput by scaled minimum cuts.

N. Ding, J. Wang, C. Ji, C. Hu, L. Xu: Dynamic Adaptive Partitioning of Deep Neural Networks Based
on Early Exit Mechanism under Edge-End Collaboration, Journal of Electronics & Information
Technology, 2025, doi:10.11999/JEIT250291; the grid after Hu et al. (see ``min_cut``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.min_cut import CutCosts, Split, minimum_cut, split_of


@dataclass(frozen=True)
class SearchResult:
    """The result of a search and its effort.

    Attributes:
        split: the split with the smallest maximum of the three times.
        alpha: factor on the car's times that led to it.
        gamma: factor on the edge server's times.
        cuts: minimum cuts computed.
        capped: True if the cap forced a coarser grid or ended the refinement.
        heads: all heads that it encountered.
    """

    split: Split
    alpha: float
    gamma: float
    cuts: int
    capped: bool
    heads: frozenset[frozenset[str]] = frozenset()


@dataclass
class _Search:
    dag: ModelDag
    exit_number: int
    costs: CutCosts
    flow_func: Callable[..., Any] | None
    best: Split
    alpha: float = 1.0
    gamma: float = 1.0
    cuts: int = 0
    on_car: Collection[str] = ()
    heads: set[frozenset[str]] = field(default_factory=set)

    def try_grid(self, alphas: list[float], gammas: list[float]) -> None:
        """Algorithm 3 over this grid, keeping the best of all grids so far."""
        for alpha in alphas:
            for gamma in gammas:
                head = minimum_cut(
                    self.dag,
                    self.costs,
                    car_factor=alpha,
                    edge_factor=gamma,
                    on_car=self.on_car,
                    flow_func=self.flow_func,
                )
                self.cuts += 1
                self.heads.add(head)
                split = split_of(self.dag, self.exit_number, head, self.costs)
                if split.period_s < self.best.period_s:
                    self.best, self.alpha, self.gamma = split, alpha, gamma


def heavy_search(
    dag: ModelDag,
    exit_number: int,
    costs: CutCosts,
    *,
    step: float = 1.0,
    refine: int = 4,
    epsilon_s: float = 1e-4,
    max_cuts: int = 400,
    on_car: Collection[str] = (),
    flow_func: Callable[..., Any] | None = None,
) -> SearchResult:
    """Algorithm 2: the grid of algorithm 3, refined around its best point.

    Alpha runs from 0 to the sum of the car's times over the shortest transfer, gamma likewise for
    the edge server, both in steps of ``step``; then the step is divided by ``refine`` around the
    best point, again and again, until the maximum of the three times improves by less than
    ``epsilon_s``. The starting best is the car alone, which is a legal split whatever the link (the
    printed text initialises another variable; infinity would do the same), and the first point is
    (1, 1), the light cut. Where nothing can be sent the car alone is all there is.

    A grid that takes too many cuts is spaced geometrically instead: spaced evenly, a coarse one has
    hardly a point near 1, and what is best is seldom far from there.

    Args:
        dag: the network.
        exit_number: the exit.
        costs: what its nodes and tensors cost.
        step: delta of the first grid.
        refine: K, by which the step is divided.
        epsilon_s: improvement that ends the refinement, in s.
        max_cuts: cap on the minimum cuts: the first grid is made coarser to stay within half of
            it, and the refinement ends at it.
        on_car: nodes that have to run on the car.
        flow_func: a flow function of networkx.
    """
    alone = split_of(dag, exit_number, frozenset(costs.car_s), costs)
    search = _Search(dag, exit_number, costs, flow_func, alone, on_car=on_car)
    shortest_s = min((s for s in costs.on_air_s.values() if s > 0), default=0.0)
    if not shortest_s:
        return SearchResult(alone, 1.0, 1.0, 0, False)
    spans = [sum(times.values()) / shortest_s for times in (costs.car_s, costs.edge_s)]
    search.try_grid([1.0], [1.0])
    counts = [math.floor(span / step) + 1 for span in spans]
    capped = counts[0] * counts[1] > max(1, max_cuts // 2)
    if capped:
        side = max(1, math.isqrt(max(1, max_cuts // 2)))
        axes = [_geometric(span, side) for span in spans]
    else:
        axes = [[i * step for i in range(count)] for count in counts]
    search.try_grid(*axes)
    while True:
        before_s = search.best.period_s
        centres = (search.alpha, search.gamma)
        axes = [_finer(a, c, step, refine) for a, c in zip(axes, centres, strict=True)]
        if search.cuts + len(axes[0]) * len(axes[1]) > max_cuts:
            capped = True
            break
        search.try_grid(*axes)
        if before_s - search.best.period_s < epsilon_s:
            break
    return SearchResult(
        search.best, search.alpha, search.gamma, search.cuts, capped, frozenset(search.heads)
    )


def _geometric(span: float, count: int) -> list[float]:
    """0, 1 and points up to ``span`` and down to a hundredth, ``count`` in all where that is 3+."""
    if count < 3:
        return [1.0]
    lowest, highest = 0.01, max(span, 1.0)
    ratio = (highest / lowest) ** (1 / max(1, count - 3))
    return sorted({0.0, 1.0, *(lowest * ratio**i for i in range(count - 2))})


def _finer(axis: list[float], centre: float, step: float, refine: int) -> list[float]:
    """``refine`` points from the centre to its neighbours on both sides, the centre among them."""
    below = max((value for value in axis if value < centre), default=max(0.0, centre - step))
    above = min((value for value in axis if value > centre), default=centre + step)
    parts = range(1, refine + 1)
    return sorted(
        {centre}
        | {centre + (above - centre) * i / refine for i in parts}
        | {centre + (below - centre) * i / refine for i in parts}
    )
