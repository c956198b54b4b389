"""The joint choice by price: one number per edge server and per cell, each car scans its own rows.

The numbers are the roots of what a whole server and a whole cell cost (``priced``). If the cars'
rows at a price P pull P * load from a server, the next price is

    P <- P + step * (P * load - P),    step = 2 / (k + 2) in round k.

It rises where more than everything is asked for and falls where less is. Without deadlines P * load
is the sum of sqrt(factor * edge_s) over the server's cars, and the rule is that of Frank and Wolfe
for the joint choice with mixed plans, the prices being half its gradient: after k rounds it is off
by at most a constant over k (M. Jaggi: Revisiting Frank-Wolfe, ICML 2013). With deadlines it is a
step along the gradient of the dual in P, with steps that add up to infinity and vanish. Nothing
rests on that: each round's prices prove a bound (``priced``), and how far the choice is above the
best of them is part of the answer.

Mixed plans are not to be had, so at the end cars that are between two plans must choose: one after
the other changes its row if the sum of all costs falls, until none does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice
from dapdee_ros.planning.fleet.merge import total_cost
from dapdee_ros.planning.fleet.polish import in_time, polished
from dapdee_ros.planning.fleet.priced import Bids, Prices, Terms, loads_of
from dapdee_ros.planning.fleet.search import cheapest

ROUNDS = 60


class Round(NamedTuple):
    """One round of offers.

    Attributes:
        rows: what every car takes at the prices, ``(cars,)``.
        bound: no joint choice costs less than this.
        pulls: what every server's and cell's price would be at the loads that these rows make.
    """

    rows: Ints
    bound: float
    pulls: Prices


def offer(fleet: Fleet, terms: Terms, prices: Prices) -> Round:
    """Every car's row at these prices; ``terms`` are those of all the fleet's rows."""
    bids = terms.at(prices)
    rows = cheapest(fleet, bids.cost)
    chosen = Bids(*(column[rows] for column in bids))
    spent = float((prices.edge**2).sum() + (prices.air**2).sum())
    return Round(
        rows, float(chosen.cost.sum()) - spent, Prices(*loads_of(chosen, terms.take(rows), fleet))
    )


def changed(prices: Prices, pulls: Prices, step: float) -> Prices:
    """The prices of the next round."""
    return Prices(*(p + step * (pull - p) for p, pull in zip(prices, pulls, strict=True)))


class Market(NamedTuple):
    """Where the rounds ended.

    Attributes:
        prices: those that prove the highest bound.
        bound: no joint choice costs less than this.
        rows: of the rounds' last, ``(cars,)``.
        history: prices of every round, ``(rounds, servers + cells)``.
    """

    prices: Prices
    bound: float
    rows: Ints
    history: Floats


def settle(fleet: Fleet, start: Prices | None = None, rounds: int = ROUNDS) -> Market:
    """Prices at which, as nearly as plans allow, every server and cell is just given away."""
    terms = Terms.of(fleet)
    prices = start or Prices(np.zeros(len(fleet.servers)), np.zeros(len(fleet.cells)))
    best, best_bound, history = prices, -np.inf, []
    for k in range(rounds):
        made = offer(fleet, terms, prices)
        rows = made.rows
        if made.bound > best_bound:
            best, best_bound = prices, made.bound
        history.append(np.concatenate(prices))
        prices = changed(prices, made.pulls, 2 / (k + (2 if start is None else 6)))
    return Market(best, best_bound, rows, np.array(history))


def by_price(fleet: Fleet, start: Prices | None = None, rounds: int = ROUNDS) -> JointChoice:
    """The joint choice with a low sum of costs, by price; for fleets of any size.

    Args:
        fleet: the cars. A car that cannot meet its deadline with everything to itself is planned
            for without one.
        start: prices to go on from.
        rounds: rounds of offers.

    Returns:
        The choice, with the bound that the prices prove, and who is late.
    """
    part, numbers = fleet.reduced
    market = settle(part, start, rounds)
    found = in_time(part, chosen_in(part, market), market.prices, market.bound)
    return fleet.as_chosen(found, numbers)


def chosen_in(fleet: Fleet, market: Market) -> Ints:
    """Rows, ``(cars,)``, for the prices that a market ended at; deadlines do not count.

    From where cars begin to choose one after the other decides where they end: the last round's
    rows, those at the best prices, and the cheapest at full shares are tried.
    """
    r = fleet.rows
    starts = (
        market.rows,
        offer(fleet, Terms.of(fleet), market.prices).rows,
        cheapest(fleet, r.base + r.factor * (r.edge_s + r.air_s)),
    )
    return min((polished(fleet, rows) for rows in starts), key=lambda rows: total_cost(fleet, rows))


def decide(terms: Terms, prices: Prices) -> int:
    """A car's own choice at published prices: one scan of its rows.

    Args:
        terms: of the car's rows.
        prices: as published.
    """
    paid_root = terms.edge_root * prices.edge[terms.server]
    paid_root += terms.air_root * prices.air[terms.cell]
    best = int((terms.base + 2 * terms.factor_root * paid_root).argmin())
    # Deadlines only add to that: where none is in its way, the lowest without them is the lowest.
    s = terms.factor_root.item(best)
    longest = max(terms.edge_root.item(best) * float(prices.edge[terms.server[best]]),
                  terms.air_root.item(best) * float(prices.air[terms.cell[best]]))  # fmt: skip
    # What waits for nobody has no factor, and 0 times an infinite slack is no number.
    in_time = longest == 0 or paid_root.item(best) <= s * terms.slack_s.item(best)
    in_time = in_time and (longest == 0 or longest <= s * terms.most_stage_s.item(best))
    if terms.slack_s.item(best) >= 0 and in_time:
        return best
    return int(terms.at(prices).cost.argmin())
