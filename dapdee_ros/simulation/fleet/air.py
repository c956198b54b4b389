"""A radio cell in simulated time: cars that send at once share its air by weights.

Generalised processor sharing (A. Parekh, R. Gallager: A Generalized Processor Sharing Approach to
Flow Control in Integrated Services Networks, 1993): a car with weight w among active weights that
add up to W has w / W of the air, so a share that somebody does not use goes to the others. One
virtual time, which runs at 1 / W, makes every start and end of a message a step on a heap.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from dapdee_ros.simulation.agenda import Agenda

LEAST_WEIGHT = 1e-3
"""Of a car that has no share: it sends under a plan of before."""
_ROUNDING_S = 1e-12


class SharedAir:
    """One cell.

    Attributes:
        busy_s: seconds for which somebody sent.
    """

    def __init__(self, agenda: Agenda) -> None:
        """Prepare with the clock."""
        self.busy_s = 0.0
        self._agenda = agenda
        self._weights: dict[int, float] = {}
        self._queues: dict[int, deque[tuple[float, Callable[..., None], tuple[Any, ...]]]] = {}
        self._sending: list[tuple[float, int, int, float]] = []
        self._order = itertools.count()
        self._virtual_s = 0.0
        self._weight = 0.0
        self._at_s = 0.0
        self._due = 0

    def set_weight(self, car: int, weight: float) -> None:
        """A car's weight from its next message on."""
        self._weights[car] = max(weight, LEAST_WEIGHT)

    def send(self, car: int, air_s: float, then: Callable[..., None], *arguments: Any) -> None:
        """Send a message that takes so many seconds of the whole cell; a car's go in order."""
        self._advance()
        queue = self._queues.setdefault(car, deque())
        queue.append((air_s, then, arguments))
        if len(queue) == 1:
            self._begin(car, air_s)
        self._wait()

    def _begin(self, car: int, air_s: float) -> None:
        weight = self._weights.get(car, LEAST_WEIGHT)
        self._weight += weight
        ends = self._virtual_s + air_s / weight
        heapq.heappush(self._sending, (ends, next(self._order), car, weight))

    def _advance(self) -> None:
        now_s = self._agenda.now_s
        if self._sending:
            self._virtual_s += (now_s - self._at_s) / self._weight
            self.busy_s += now_s - self._at_s
        self._at_s = now_s

    def _wait(self) -> None:
        self._due += 1
        if self._sending:
            left_s = max(0.0, self._sending[0][0] - self._virtual_s) * self._weight
            self._agenda.at(self._agenda.now_s + left_s, self._finish, self._due)

    def _finish(self, due: int) -> None:
        if due != self._due:
            return
        self._advance()
        # What was due now is over, however the sums were rounded.
        ends = max(self._virtual_s, self._sending[0][0]) + _ROUNDING_S
        arrived = []
        while self._sending and self._sending[0][0] <= ends:
            _, _, car, weight = heapq.heappop(self._sending)
            self._weight -= weight
            queue = self._queues[car]
            arrived.append(queue.popleft())
            if queue:
                self._begin(car, queue[0][0])
        if not self._sending:
            self._weight = self._virtual_s = 0.0
        self._wait()
        for _, then, arguments in arrived:
            then(*arguments)
