"""The exact joint choice: the reference that everything else is measured by.

For about 20 cars. Larger fleets may raise TooManyStatesError; ``price`` is for them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dapdee_ros.planning.candidates import Ints
from dapdee_ros.planning.errors import TooManyStatesError
from dapdee_ros.planning.fleet.deadlines import cheapest_in_time, fewest_late
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice
from dapdee_ros.planning.fleet.merge import merged, total_cost
from dapdee_ros.planning.fleet.min_max import least_worst, level, lightest
from dapdee_ros.planning.fleet.polish import in_time
from dapdee_ros.planning.fleet.price import chosen_in, settle
from dapdee_ros.planning.fleet.shares import best_shares


def lowest_sum(fleet: Fleet) -> JointChoice:
    """Every car's row and share with the lowest sum of costs.

    Deadlines are kept by as many cars as can: a smallest set of cars is late, which is planned for
    without deadlines (``JointChoice.late`` names it).

    Raises:
        TooManyStatesError: if there are too many choices that could be the best.
    """
    part, numbers = _in_time_together(fleet)
    market = settle(part)
    start = chosen_in(part, market)
    rows = merged(part, start, market.prices)
    free = best_shares(part, rows)
    least = total_cost(part, rows)
    if free is None or free.total_cost > least * (1 + 1e-12):
        known = in_time(part, start, market.prices, least)
        free = cheapest_in_time(part, None if known.late else known, market.prices, least)
        if free is None:
            raise TooManyStatesError("no choice was found that keeps the deadlines; plan by price")
    return fleet.as_chosen(replace(free, bound=free.total_cost), numbers)


def lowest_worst(fleet: Fleet) -> JointChoice:
    """Every car's row and share with the lowest cost of the car that is worst off.

    Deadlines are kept as by ``lowest_sum``.

    Raises:
        TooManyStatesError: if there are too many choices that could be the best.
    """
    part, numbers = _in_time_together(fleet)
    market = settle(part)
    known = in_time(part, chosen_in(part, market), market.prices, 0.0)
    start = known.rows
    light = lightest(part, known.worst_cost)
    if not (tried := level(part, light)).late and tried.worst_cost < level(part, start).worst_cost:
        start = light
    return fleet.as_chosen(least_worst(part, start), numbers)


def _in_time_together(fleet: Fleet) -> tuple[Fleet, Ints]:
    """The fleet without the deadlines that cannot be kept together, and which rows it has."""
    hopeless = fleet.hopeless.tolist()
    part, numbers = fleet.reduced
    if not np.isfinite(part.slack_s).any() and not np.isfinite(part.most_stage_s).any():
        return part, numbers
    late = fewest_late(part)
    if not late:
        return part, numbers
    relaxed = fleet.without_deadlines([*hopeless, *late])
    return relaxed.only(relaxed.possible)
