"""Cars that choose one after the other, each beside what the others have chosen so far.

This is the decision process that a policy learns in (``reinforcement``) and decides in (``ppo``).
An episode begins with every car at the plan that is cheapest for a car alone, and goes ``SWEEPS``
times through all cars. Whoever's turn it is takes a plan of its short list and one of ``WEIGHTS``:
its share of the edge server is its weight over the sum of the weights of all who use it. A cell is
shared equally. With e = factor * edge_s and a = factor * air_s of the plans in force all cars
together cost

    sum of base + sum over servers of W * Q + sum over cells of N * R

where W is the sum of a server's weights, Q that of e / weight, N the number of cars that send in a
cell and R the sum of their a. The reward of a step is by how much that falls, so an episode's
rewards add up to what the cars save beside each for itself. Rewards and observed costs are
multiples of what a car has to gain or lose in the mean, so that they do not depend on the network.

Nothing that is observed grows with the number of cars, servers or cells: a car sees its own plans,
and for each of them what the others make of its server and cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.fleet.rows import NOBODY
from dapdee_ros.planning.fleet.short_list import ShortLists

Observations = NDArray[np.float32]

WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Weights of a car at its edge server."""
SWEEPS = 2
"""How often every car has its turn."""

CAR_FEATURES = 4
"""Observed of the episode: the logarithm of the number of cars, how far the sweep is, whether it is
the last, the share of the cars that send."""
PLAN_FEATURES = 11
"""Observed of each plan of the car whose turn it is: base, beside the lowest cost it could have
alone; e; a; e times the others' weights; a times how many others send; what the others at the
server and those in the cell would lose to a weight of 1; logarithms of the others' weights and
number; whether it is the car's plan now; whether it is there."""
LIMIT = 20.0
"""Observations are cut off at this, and its negative."""


def observation_size(length: int) -> int:
    """Numbers of an observation of a car with a short list of this length."""
    return CAR_FEATURES + length * PLAN_FEATURES


class _Plans(NamedTuple):
    """Short lists of several fleets, ``(fleets, cars, length)`` each; NOBODY is counted behind the
    last server and cell. The last three are of cars, ``(fleets, cars)``: the plan to begin with,
    the lowest cost alone, and what there is to gain.
    """

    base: Floats
    edge: Floats
    air: Floats
    server: Ints
    cell: Ints
    there: Bools
    first: Ints
    lowest: Floats
    scale: Floats


class _Sums(NamedTuple):
    """W and Q of every server, ``(episodes, servers + 1)``; N and R of every cell likewise."""

    weight: Floats
    lost: Floats
    senders: Floats
    waits: Floats


class InTurn:
    """Several episodes at once, each with a fleet of its own.

    Attributes:
        length: of the short lists.
        cars: how many cars each of the fleets has, ``(fleets,)``.
        episodes: how many there are at once.
    """

    def __init__(self, fleets: Sequence[ShortLists], episodes: int = 1) -> None:
        """Prepare; every episode has to ``begin``.

        Args:
            fleets: short lists of one length.
            episodes: how many go on at once.
        """
        self.length = fleets[0].base.shape[1]
        self.cars = np.array([len(lists.base) for lists in fleets])
        self.episodes = episodes
        self._servers = 1 + max(int(lists.server.max()) for lists in fleets)
        self._cells = 1 + max(int(lists.cell.max()) for lists in fleets)
        self._plans = self._stacked(fleets)
        most = int(self.cars.max())
        self._every = np.arange(episodes)
        self._fleet = np.zeros(episodes, np.intp)
        self._count = np.ones(episodes, np.intp)
        self._turn = np.zeros(episodes, np.intp)
        self._order = np.zeros((episodes, most), np.intp)
        # What is in force, by the cars' places in the order.
        self._plan = np.zeros((episodes, most), np.intp)
        self._weight = np.ones((episodes, most))
        self._base, self._edge, self._air = np.zeros((3, episodes, most))
        self._server = np.full((episodes, most), self._servers)
        self._cell = np.full((episodes, most), self._cells)
        self._scale = np.ones(episodes)
        self._known: _Sums | None = None

    def begin(self, episode: int, fleet: int, order: Ints) -> None:
        """Begin one of the episodes.

        Args:
            episode: which.
            fleet: index of its fleet.
            order: the cars that take part, in the order of their turns, ``(cars,)``.
        """
        n, plans = len(order), self._plans
        self._fleet[episode], self._count[episode], self._turn[episode] = fleet, n, 0
        self._order[episode, :n] = order
        self._order[episode, n:] = 0
        self._plan[episode, :n] = plans.first[fleet, order]
        self._plan[episode, n:] = 0
        self._weight[episode] = 1.0
        self._scale[episode] = max(float(plans.scale[fleet, order].mean()), 1e-9)
        self._put_in_force(episode)

    @property
    def cost(self) -> Floats:
        """What all cars of each episode cost now, in the objective's seconds, ``(episodes,)``."""
        sums = self._sums()
        waiting = (sums.weight * sums.lost).sum(axis=1) + (sums.senders * sums.waits).sum(axis=1)
        return np.asarray(self._base.sum(axis=1) + waiting)

    def observe(self) -> Observations:
        """What the car sees whose turn it is, ``(episodes, observation_size(length))``."""
        b, sums, plans = self._every, self._sums(), self._plans
        at = self._turn % self._count
        fleet, car = self._fleet, self._order[b, at]
        server, cell, there = (p[fleet, car] for p in (plans.server, plans.cell, plans.there))
        base, edge, air = (p[fleet, car] for p in (plans.base, plans.edge, plans.air))
        weight, lost, senders, waits = self._without(sums, at)
        column = b[:, None]
        w, q = weight[column, server], lost[column, server]
        n, r = senders[column, cell], waits[column, cell]
        seen = np.empty((len(b), self.length, PLAN_FEATURES))
        seen[..., 0] = base - plans.lowest[fleet, car][:, None]
        for place, value in enumerate((edge, air, edge * w, air * n, q, r), start=1):
            seen[..., place] = value
        seen[..., :7] /= self._scale[:, None, None]
        seen[..., 7], seen[..., 8] = np.log1p(w), np.log1p(n)
        seen[..., 9] = np.arange(self.length) == self._plan[b, at][:, None]
        seen[..., 10] = 1.0
        seen *= there[..., None]
        sending = (self._server < self._servers) | (self._cell < self._cells)
        own = np.array(
            [
                np.log(self._count) / 4,
                at / self._count,
                self._turn >= (SWEEPS - 1) * self._count,
                sending.sum(axis=1) / self._count,
            ]
        ).T
        whole = np.concatenate([own, seen.reshape(len(b), -1)], axis=1)
        return np.clip(whole, -LIMIT, LIMIT).astype(np.float32)

    def step(self, actions: Ints) -> tuple[Floats, Bools]:
        """Let the cars choose whose turn it is.

        Args:
            actions: place of the plan in its short list times the number of ``WEIGHTS``, plus the
                place of the weight, ``(episodes,)``. Places behind the car's last plan begin again
                with its first one.

        Returns:
            The rewards, and which episodes have ended, ``(episodes,)`` each.
        """
        before = self.cost
        b, at = self._every, self._turn % self._count
        fleet, car = self._fleet, self._order[b, at]
        plan, weight = np.divmod(actions, len(WEIGHTS))
        plan = plan % self._plans.there[fleet, car].sum(axis=1)
        self._plan[b, at], self._weight[b, at] = plan, np.asarray(WEIGHTS)[weight]
        for mine, of in self._in_force():
            mine[b, at] = of[fleet, car, plan]
        self._turn += 1
        self._known = None
        return (before - self.cost) / self._scale, self._turn >= SWEEPS * self._count

    def choice(self, episode: int = 0) -> tuple[Ints, Floats]:
        """Places in their short lists, and weights, of the cars in an episode, ``(cars,)`` each.

        They are in the order of the fleet, of all whose turn it ever is.
        """
        n = int(self._count[episode])
        back = np.argsort(self._order[episode, :n])
        return self._plan[episode, :n][back], self._weight[episode, :n][back]

    def state(self) -> dict[str, NDArray[Any]]:
        """Where all episodes are."""
        return {
            "fleet": self._fleet.copy(),
            "count": self._count.copy(),
            "turn": self._turn.copy(),
            "order": self._order.copy(),
            "plan": self._plan.copy(),
            "weight": self._weight.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from where ``state`` was asked for, with the same fleets.

        Raises:
            ValueError: if it is the state of other fleets.
        """
        for name, value in self.state().items():
            if state[name].shape != value.shape:
                raise ValueError(f"{name} is {state[name].shape}; expected {value.shape}")
        for episode in range(self.episodes):
            n = int(state["count"][episode])
            self.begin(episode, int(state["fleet"][episode]), state["order"][episode, :n])
            self._plan[episode], self._weight[episode] = (
                state["plan"][episode],
                state["weight"][episode],
            )
            self._turn[episode] = state["turn"][episode]
            self._put_in_force(episode)

    # --- inside ---------------------------------------------------------------------------------

    def _stacked(self, fleets: Sequence[ShortLists]) -> _Plans:
        most = int(self.cars.max())
        shape = (len(fleets), most, self.length)
        base, edge, air = np.zeros((3, *shape))
        server, cell = np.full(shape, self._servers), np.full(shape, self._cells)
        there = np.zeros(shape, bool)
        there[:, :, 0] = True
        for k, lists in enumerate(fleets):
            n = len(lists.base)
            base[k, :n], edge[k, :n], air[k, :n] = lists.base, lists.edge, lists.air
            server[k, :n] = np.where(lists.server == NOBODY, self._servers, lists.server)
            cell[k, :n] = np.where(lists.cell == NOBODY, self._cells, lists.cell)
            there[k, :n] = lists.there
        alone = np.where(there, base + edge + air, np.inf)
        first, lowest = alone.argmin(axis=2), alone.min(axis=2)
        # What a car has to gain: the waiting of its best plan, and what staying at home costs more.
        waiting = np.take_along_axis(edge + air, first[..., None], axis=2)[..., 0]
        home = np.where(there & (edge + air == 0), base, np.inf).min(axis=2)
        gain = np.where(np.isfinite(home), home - lowest, 0.0)
        return _Plans(base, edge, air, server, cell, there, first, lowest, waiting + gain)

    def _in_force(self) -> tuple[tuple[NDArray[Any], NDArray[Any]], ...]:
        """Columns of the plans in force, each with where its values come from."""
        p = self._plans
        return (
            (self._base, p.base), (self._edge, p.edge), (self._air, p.air),
            (self._server, p.server), (self._cell, p.cell),
        )  # fmt: skip

    def _put_in_force(self, episode: int) -> None:
        n, fleet = int(self._count[episode]), int(self._fleet[episode])
        order, plan = self._order[episode, :n], self._plan[episode, :n]
        for mine, of in self._in_force():
            mine[episode, :n] = of[fleet, order, plan]
        self._base[episode, n:] = self._edge[episode, n:] = self._air[episode, n:] = 0.0
        self._server[episode, n:], self._cell[episode, n:] = self._servers, self._cells
        self._known = None

    def _sums(self) -> _Sums:
        if self._known is None:
            column = self._every[:, None]
            server = (column * (self._servers + 1) + self._server).ravel()
            cell = (column * (self._cells + 1) + self._cell).ravel()

            def summed(where: Ints, values: Floats | None, columns: int) -> Floats:
                flat = None if values is None else values.ravel()
                found = np.bincount(where, flat, self.episodes * columns).astype(np.float64)
                found = found.reshape(self.episodes, columns)
                found[:, -1] = 0.0  # of those who use none
                return found

            self._known = _Sums(
                summed(server, self._weight, self._servers + 1),
                summed(server, self._edge / self._weight, self._servers + 1),
                summed(cell, None, self._cells + 1),
                summed(cell, self._air, self._cells + 1),
            )
        return self._known

    def _without(self, sums: _Sums, at: Ints) -> _Sums:
        """The sums over the others than the cars at these places of the order."""
        b = self._every
        server, cell = self._server[b, at], self._cell[b, at]
        weight, edge = self._weight[b, at], self._edge[b, at]
        left = _Sums(*(column.copy() for column in sums))
        left.weight[b, server] -= weight
        left.lost[b, server] -= edge / weight
        left.senders[b, cell] -= 1
        left.waits[b, cell] -= self._air[b, at]
        for column in left:
            column[:, -1] = 0.0
            # Differences of rounded sums.
            np.maximum(column, 0.0, out=column)
        return left
