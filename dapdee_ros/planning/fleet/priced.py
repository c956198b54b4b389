"""What each row costs, and asks for, where shares of edge servers and cells have a price.

A car that pays m for the whole edge server and n for the whole cell takes the shares that minimise

    base + factor * (x + y) + m * edge_s / x + n * air_s / y,

where x = edge_s / f and y = air_s / g are the seconds that its frame stays there, each at most
``most_stage_s``, both together at most the slack until the deadline. With a = sqrt(m * edge_s) and
b = sqrt(n * air_s) the conditions of Karush, Kuhn and Tucker give x = a / s and y = b / s with

    s = max(sqrt(factor), (a + b) / slack)

and where one of them is cut off at ``most_stage_s``, the same for the other with what is left. So
a price enters by its square root alone, and that is what is published: without deadlines the row
costs base + 2 * sqrt(factor) * (a + b).

Summed over the cars, less m and n, the lowest of these is the Lagrange dual of the joint choice:
whatever the prices, no joint choice costs less (S. Boyd, L. Vandenberghe: Convex Optimization,
2004, chapter 5).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.fleet import Fleet


class Prices(NamedTuple):
    """Square roots of what a whole edge server and a whole cell cost.

    Attributes:
        edge: of every edge server, ``(servers,)``.
        air: of every cell, ``(cells,)``.
    """

    edge: Floats
    air: Floats

    def times(self, factor: float) -> Prices:
        """Both scaled."""
        return Prices(self.edge * factor, self.air * factor)


class Bids(NamedTuple):
    """Rows at prices, ``(n,)`` each.

    Attributes:
        cost: what the row costs with what it pays; infinite if it cannot meet its deadline.
        edge_s: seconds on the edge server, x.
        air_s: seconds on the air, y.
        edge_pull: the share of the server times the root of its price, which is finite for a price
            of 0, too.
        air_pull: the same of the cell.
        edge_share: share of the server that it takes; infinite at a price of 0.
        air_share: the same of the cell.
    """

    cost: Floats
    edge_s: Floats
    air_s: Floats
    edge_pull: Floats
    air_pull: Floats
    edge_share: Floats
    air_share: Floats


class Terms(NamedTuple):
    """Of some rows what prices act on, ``(n,)`` each; see ``Rows`` and ``Fleet``."""

    base: Floats
    factor_root: Floats
    edge_root: Floats
    air_root: Floats
    server: Ints
    cell: Ints
    slack_s: Floats
    most_stage_s: Floats

    @classmethod
    def of(cls, fleet: Fleet, rows: Ints | slice = slice(None)) -> Terms:
        """Of the given rows of a fleet."""
        r = fleet.rows
        return cls(
            r.base[rows],
            np.sqrt(r.factor[rows]),
            np.sqrt(r.edge_s[rows]),
            np.sqrt(r.air_s[rows]),
            r.server[rows],
            r.cell[rows],
            fleet.slack_s[rows],
            fleet.most_stage_s[rows],
        )

    @property
    def sharing_alone(self) -> Terms:
        """The same where nothing but the shares counts."""
        nothing = np.zeros(len(self.base))
        return self._replace(base=nothing, factor_root=nothing)

    def take(self, rows: Ints) -> Terms:
        """The given rows."""
        return Terms._make(column[rows] for column in self)

    def at(self, prices: Prices) -> Bids:
        """What the rows cost and take at these prices."""
        # NOBODY is the last one's index, too, but nobody's seconds are 0.
        a = self.edge_root * prices.edge[self.server]
        b = self.air_root * prices.air[self.cell]
        slack_s, most_s = self.slack_s, self.most_stage_s
        with np.errstate(divide="ignore", invalid="ignore"):
            both = a + b
            hurry = np.where(both > 0, both / np.maximum(slack_s, 0.0), 0.0)
            s = np.maximum(self.factor_root, hurry)
            edge_s, air_s = _seconds(a, s), _seconds(b, s)
            edge_pull, air_pull = self.edge_root * s, self.air_root * s
            cut = np.flatnonzero(np.maximum(edge_s, air_s) > most_s)
            if len(cut):
                first = a[cut] >= b[cut]
                most_s = most_s[cut]
                low = np.minimum(a[cut], b[cut])
                left_s = slack_s[cut] - most_s
                s_low = np.maximum(self.factor_root[cut], low / np.maximum(left_s, 0.0))
                low_s = np.minimum(most_s, _seconds(low, s_low))
                edge_s[cut] = np.where(first, most_s, low_s)
                air_s[cut] = np.where(first, low_s, most_s)
                edge_pull[cut] = _pull(self.edge_root[cut], a[cut], edge_s[cut], s_low)
                air_pull[cut] = _pull(self.air_root[cut], b[cut], air_s[cut], s_low)
            paid = a * edge_pull / np.where(self.edge_root > 0, self.edge_root, 1.0)
            paid += b * air_pull / np.where(self.air_root > 0, self.air_root, 1.0)
            # Where nothing counts and there is no deadline, a frame may stay for ever.
            both_s = np.where(self.factor_root > 0, edge_s + air_s, 0.0)
            cost = self.base + self.factor_root**2 * both_s + paid
            edge_share = np.where(self.edge_root > 0, self.edge_root**2 / edge_s, 0.0)
            air_share = np.where(self.air_root > 0, self.air_root**2 / air_s, 0.0)
        late = slack_s < 0
        late |= (slack_s == 0) & (self.edge_root + self.air_root > 0)
        if late.any():
            cost[late] = np.inf
        return Bids(cost, edge_s, air_s, edge_pull, air_pull, edge_share, air_share)


def _seconds(root: Floats, s: Floats) -> Floats:
    """The seconds that a frame stays; 0 where it takes none, or where that is free."""
    return np.where(root > 0, root / s, 0.0)


def _pull(root: Floats, paid_root: Floats, seconds: Floats, s: Floats) -> Floats:
    """Share times root of the price: root^2 / seconds * price, by way of root * price."""
    return np.where(paid_root > 0, root * paid_root / seconds, root * s)


def sum_at(of: Ints, values: Floats, count: int) -> Floats:
    """Sums over those who use the same server or cell, ``(count,)``."""
    there = of >= 0
    return np.bincount(of[there], values[there], count).astype(np.float64)


def loads_of(bids: Bids, terms: Terms, fleet: Fleet) -> tuple[Floats, Floats]:
    """Sums of the pulls on every server and on every cell, ``(servers,)`` and ``(cells,)``."""
    return (
        sum_at(terms.server, bids.edge_pull, len(fleet.servers)),
        sum_at(terms.cell, bids.air_pull, len(fleet.cells)),
    )
