"""The best shares for a given row of every car.

Without deadlines a server's shares are f_i = u_i / U with u_i = sqrt(factor_i * edge_s_i), U their
sum, and what is waited for there costs U^2 together; likewise every cell's. Where a deadline or
``most_stage_s`` binds, the prices are looked for at which every share is given away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.fleet.fleet import ROUNDING, Fleet, JointChoice, joint_choice
from dapdee_ros.planning.fleet.priced import Prices, Terms, sum_at

_MOST_STEPS = 400
_SAME_LOAD = 1e-12


class Packing(NamedTuple):
    """How much of the servers and cells some rows need to be in time.

    Attributes:
        least: lower bound of the load of the fullest server or cell, over all shares.
        load: what these shares load the fullest with; the shares fit if that is 1 or less.
        edge_share: the shares of each car, ``(cars,)``.
        air_share: likewise.
        weights: roots of the weights that prove the bound.
    """

    least: float
    load: float
    edge_share: Floats
    air_share: Floats
    weights: Prices

    @property
    def fits(self) -> bool:
        """Whether the rows are in time together."""
        return self.load <= 1 + ROUNDING


def best_shares(fleet: Fleet, rows: Ints, bound: float = 0.0) -> JointChoice | None:
    """The joint choice of these rows, ``(cars,)``, with the lowest sum of costs.

    Returns:
        None if no shares meet every deadline.
    """
    terms = Terms.of(fleet, rows)
    edge_pull, air_pull = (root * terms.factor_root for root in (terms.edge_root, terms.air_root))
    edge, air = _sums(terms, edge_pull, air_pull, fleet)
    free = joint_choice(
        fleet, rows, _share(edge_pull, edge, terms.server), _share(air_pull, air, terms.cell), bound
    )
    if not free.late:
        return free
    packing = least_load(fleet, terms)
    if not packing.fits:
        return None
    found = _settle(fleet, terms, Prices(edge, air))
    chosen = None if found is None else joint_choice(fleet, rows, *found, bound)
    if chosen is None or chosen.late:
        # There is hardly any freedom left: what is needed is also the answer.
        spread = max(packing.load, 1e-300)
        chosen = joint_choice(
            fleet, rows, packing.edge_share / spread, packing.air_share / spread, bound
        )
    # A car without a deadline must not be left without a share either.
    return chosen if np.isfinite(chosen.total_cost) else None


def least_load(fleet: Fleet, terms: Terms, steps: int = _MOST_STEPS) -> Packing:
    """The shares that keep every deadline and load the fullest server or cell least.

    For weights w of servers and cells that add up to 1, the load of the fullest is at least the
    lowest weighted sum of loads. At each step the weights of what is fuller rise; it ends as soon
    as it is clear whether everything fits.

    Args:
        fleet: servers and cells.
        terms: one row of each car.
        steps: how often the weights are changed at most.
    """
    terms = terms.sharing_alone
    servers, cells = len(fleet.servers), len(fleet.cells)
    used = np.concatenate([_used(terms.server, terms.edge_root, servers),
                           _used(terms.cell, terms.air_root, cells)])  # fmt: skip
    if not used.any():
        nothing = np.zeros(len(terms.base))
        return Packing(0.0, 0.0, nothing, nothing, Prices(np.zeros(servers), np.zeros(cells)))
    if (terms.slack_s < 0).any():
        full = np.full(len(terms.base), np.inf)
        return Packing(np.inf, np.inf, full, full, Prices(np.ones(servers), np.ones(cells)))
    weights = used / used.sum()
    least, load = 0.0, np.inf
    best = None
    for _ in range(steps):
        roots = np.sqrt(weights)
        prices = Prices(roots[:servers], roots[servers:])
        bids = terms.at(prices)
        edge, air = _sums(terms, bids.edge_share, bids.air_share, fleet)
        loads = np.concatenate([edge, air])
        bound = float(weights[used] @ loads[used])
        least = max(least, bound)
        if best is None or loads.max() < load:
            load = float(loads.max())
            best = bids.edge_share, bids.air_share, prices
        if least > 1 + ROUNDING or load <= 1 - ROUNDING or load - least <= _SAME_LOAD * load:
            break
        weights = np.where(used, weights * np.maximum(loads, 1e-9) ** 2, 0.0)
        # A weight of 0 would never rise again, and a share at it would be infinite.
        weights = np.where(used, np.maximum(weights / weights.sum(), 1e-12), 0.0)
        weights /= weights.sum()
    assert best is not None
    return Packing(least, load, *best)


def _settle(fleet: Fleet, terms: Terms, start: Prices) -> tuple[Floats, Floats] | None:
    """The shares at prices at which all of every used server and cell is given away.

    There the dual (``priced``) is highest. It is concave in the prices, its gradient is every load
    less 1, so Newton's method with a line search finds it; None if not to the last digits.
    """
    servers = len(fleet.servers)
    roots = np.concatenate(start)
    where = np.flatnonzero(roots > 0)

    def at(price: Floats) -> tuple[float, Floats, tuple[Floats, Floats]]:
        full = np.zeros(len(roots))
        full[where] = np.sqrt(price)
        bids = terms.at(Prices(full[:servers], full[servers:]))
        shares = bids.edge_share, bids.air_share
        loads = np.concatenate(_sums(terms, *shares, fleet))[where]
        return float(bids.cost.sum() - price.sum()), loads - 1, shares

    price = roots[where] ** 2
    dual, excess, shares = at(price)
    for _ in range(_MOST_STEPS):
        if np.abs(excess).max() <= ROUNDING / 10:
            return shares
        # By the logarithms of the prices: their ranges are far apart.
        bent = np.empty((len(price), len(price)))
        for k in range(len(price)):
            moved = price.copy()
            moved[k] *= 1 + 1e-6
            bent[:, k] = (at(moved)[1] - excess) / 1e-6
        bent = -(bent * price[:, None])
        bent = (bent + bent.T) / 2 + 1e-9 * np.diag(price)
        try:
            step = np.linalg.solve(bent, price * excess)
        except np.linalg.LinAlgError:
            step = excess
        if step @ (price * excess) <= 0:
            step = excess
        length = 1.0
        for _ in range(40):
            tried = price * np.clip(1 + length * step, 0.1, 10.0)
            found = at(tried)
            if found[0] > dual or np.abs(found[1]).max() < 0.5 * np.abs(excess).max():
                break
            length /= 2
        else:
            break
        price, (dual, excess, shares) = tried, found
    return shares if np.abs(excess).max() <= 1e-7 else None


def _sums(terms: Terms, edge: Floats, air: Floats, fleet: Fleet) -> tuple[Floats, Floats]:
    """Sums of something over every server's and every cell's cars."""
    return (
        sum_at(terms.server, edge, len(fleet.servers)),
        sum_at(terms.cell, air, len(fleet.cells)),
    )


def _used(of: Ints, root: Floats, count: int) -> Bools:
    return np.asarray(np.bincount(of[of >= 0], root[of >= 0] > 0, count) > 0)


def _share(pull: Floats, total: Floats, of: Ints) -> Floats:
    total = np.append(total, 1.0)[of]
    return np.divide(pull, total, out=np.zeros(len(pull)), where=total > 0)
