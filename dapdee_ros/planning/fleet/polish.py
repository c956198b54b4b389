"""From rows that prices suggest to a choice that holds: one car after the other changes its row."""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Ints
from dapdee_ros.planning.fleet.deadlines import fewest_late, first_fit
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice
from dapdee_ros.planning.fleet.priced import Prices, Terms
from dapdee_ros.planning.fleet.search import needs
from dapdee_ros.planning.fleet.shares import Packing, best_shares, least_load

# A search for a choice in time is worth it up to here.
_FEW_CARS = 24
_MOST_SWEEPS = 50
# Sums of costs are compared this often where deadlines bind.
_MOST_SETTLED = 240
_GAIN = 1e-12


def polished(fleet: Fleet, rows: Ints) -> Ints:
    """Rows, ``(cars,)``, from which no single car's change lowers the sum of costs.

    Deadlines do not count. A car's row over a server that u of the others' sqrt(factor * edge_s)
    add up at costs it and them 2 * u * x + x^2 with x its own, so the sum falls with every change
    and this ends.
    """
    terms = Terms.of(fleet)
    x, y = terms.factor_root * terms.edge_root, terms.factor_root * terms.air_root
    own = terms.base + x**2 + y**2
    used = np.zeros(len(fleet.servers) + 1), np.zeros(len(fleet.cells) + 1)
    rows = rows.copy()
    np.add.at(used[0], terms.server[rows], x[rows])
    np.add.at(used[1], terms.cell[rows], y[rows])
    slices = [slice(a, a + n) for a, n in zip(fleet.starts.tolist(), fleet.counts, strict=True)]
    x2, y2 = 2 * x, 2 * y
    for _ in range(_MOST_SWEEPS):
        quiet = True
        for car, mine in enumerate(slices):
            now = rows.item(car)
            used[0][terms.server[now]] -= x[now]
            used[1][terms.cell[now]] -= y[now]
            cost = own[mine] + x2[mine] * used[0][terms.server[mine]]
            cost += y2[mine] * used[1][terms.cell[mine]]
            at = int(cost.argmin())
            if cost[at] < cost[now - mine.start] * (1 - _GAIN):
                now, quiet = mine.start + at, False
            rows[car] = now
            used[0][terms.server[now]] += x[now]
            used[1][terms.cell[now]] += y[now]
        if quiet:
            break
    return rows


def in_time(fleet: Fleet, rows: Ints, prices: Prices, bound: float) -> JointChoice:
    """A choice from these rows, ``(cars,)``, on that keeps every deadline, if one is found.

    Args:
        fleet: the cars, with rows that could be in time.
        rows: where to begin.
        prices: roots of prices, which say what is promising.
        bound: goes into the answer.
    """
    found = best_shares(fleet, rows, bound)
    if found is not None and not _binds(fleet, found):
        return found
    if found is None:
        fitting = _made_to_fit(fleet, rows)
        if fitting is None:
            return _some_late(fleet, rows, prices, bound)
        found = best_shares(fleet, fitting, bound)
        if found is None:
            return _some_late(fleet, rows, prices, bound)
    return _improved(fleet, found, prices, bound)


def _binds(fleet: Fleet, choice: JointChoice) -> bool:
    """Whether a deadline keeps the shares from being those of the lowest sum."""
    terms = Terms.of(fleet, choice.rows)
    for root, share, of in (
        (terms.edge_root, choice.edge_share, terms.server),
        (terms.air_root, choice.air_share, terms.cell),
    ):
        pull = terms.factor_root * root
        there = (of >= 0) & (share > 0)
        total = np.bincount(of[there], pull[there])
        best = pull[there] / total[of[there]]
        if (np.abs(share[there] - best) > 1e-9).any():
            return True
    return False


def _made_to_fit(fleet: Fleet, rows: Ints) -> Ints | None:
    """Rows that fit, by changing one after the other to what needs less; None if not found."""
    every = Terms.of(fleet)
    rows = rows.copy()
    packing = least_load(fleet, every.take(rows))
    for _ in range(4 * len(rows)):
        if packing.fits:
            return rows
        moved = _lighter(fleet, every, rows, packing)
        if moved is None:
            break
        rows, packing = moved
    if packing.fits:
        return rows
    return first_fit(fleet) if len(rows) <= _FEW_CARS else None


def _lighter(
    fleet: Fleet, every: Terms, rows: Ints, packing: Packing
) -> tuple[Ints, Packing] | None:
    """One car's change after which less is needed."""
    needed = needs(every, packing.weights)
    gain = needed[rows][fleet.car_of] - needed
    for row in np.argsort(-gain, kind="stable")[:8].tolist():
        if gain[row] <= 0:
            return None
        tried = rows.copy()
        tried[fleet.car_of[row]] = row
        found = least_load(fleet, every.take(tried))
        if found.load < packing.load * (1 - _GAIN):
            return tried, found
    return None


def _some_late(fleet: Fleet, rows: Ints, prices: Prices, bound: float) -> JointChoice:
    """The same where some cars are late: a smallest set of them, or of many cars the neediest."""
    if len(rows) <= _FEW_CARS:
        late: tuple[int, ...] = fewest_late(fleet)
    else:
        every = Terms.of(fleet)
        packing = least_load(fleet, every.take(rows))
        order = np.argsort(-needs(every.take(rows), packing.weights), kind="stable")
        # Halve how many: whoever is not late has to fit.
        few, many = 0, len(order)
        while many - few > 1:
            middle = (few + many) // 2
            rest = every.take(rows)
            rest.slack_s[order[:middle]] = rest.most_stage_s[order[:middle]] = np.inf
            few, many = (few, middle) if least_load(fleet, rest).fits else (middle, many)
        late = tuple(order[:many].tolist())
    relaxed = fleet.without_deadlines(late)
    found = best_shares(relaxed, rows, bound)
    if found is None:
        fitting = _made_to_fit(relaxed, rows)
        found = None if fitting is None else best_shares(relaxed, fitting, bound)
    if found is None:
        relaxed = fleet.without_deadlines(range(len(rows)))
        found = best_shares(relaxed, rows, bound)
        assert found is not None
        return found
    return _improved(relaxed, found, prices, bound)


def _improved(fleet: Fleet, choice: JointChoice, prices: Prices, bound: float) -> JointChoice:
    """Single changes that keep the deadlines and lower the sum, the most promising first."""
    every = Terms.of(fleet)
    left = _MOST_SETTLED
    while left:
        bids = every.at(_prices_of(fleet, every, choice, prices)).cost
        gain = bids[choice.rows][fleet.car_of] - bids
        promising = np.argsort(-gain, kind="stable")
        promising = promising[gain[promising] > -0.1 * abs(choice.total_cost)]
        for row in promising[: max(8, len(choice.rows))].tolist():
            rows = choice.rows.copy()
            if rows[fleet.car_of[row]] == row:
                continue
            rows[fleet.car_of[row]] = row
            left -= 1
            found = best_shares(fleet, rows, bound)
            if found is not None and found.total_cost < choice.total_cost * (1 - 1e-9):
                choice = found
                break
            if not left:
                break
        else:
            break
    return choice


def _prices_of(fleet: Fleet, every: Terms, choice: JointChoice, prices: Prices) -> Prices:
    """The prices at which cars without a deadline in the way would take the shares they have."""
    terms = every.take(choice.rows)
    found = []
    for root, share, of, market in (
        (terms.edge_root, choice.edge_share, terms.server, prices.edge),
        (terms.air_root, choice.air_share, terms.cell, prices.air),
    ):
        there = share > 0
        value = np.divide(terms.factor_root * root, share, out=np.zeros(len(root)), where=there)
        # Those whom a deadline gives more than they would pay for show a lower value.
        highest = np.zeros(len(market))
        np.maximum.at(highest, of[there], value[there])
        found.append(np.where(highest > 0, highest, market))
    return Prices(*found)
