"""Frames that wait for a shared server: fair over cars by their shares, earliest deadline first.

Between cars: start-time fair queueing (P. Goyal, H. M. Vin, H. Cheng, "Start-time Fair Queueing: A
Scheduling Algorithm for Integrated Services Packet Switching Networks", SIGCOMM 1996). Every car
has a start tag, the server goes on with the lowest, and a frame that took c seconds moves its car's
tag by c over the car's share. The order needs no cost in advance, so cars are charged what their
frames really took, and the shares hold in seconds of the server however wrong a prediction is. A
car that was away begins at the tag in service, without credit, and what a car leaves of its share,
the others use. Where several are served at once, the order lags by as many. Cars are told apart by
who receives them, never by what a frame says, so none can pose as many.

Within a car: earliest deadline first; the newest frames win a full queue. When all bytes are used,
the car with the most bytes for its share makes way (the longest queue, as P. E. McKenney,
"Stochastic Fairness Queueing", INFOCOM 1990, steals buffers), so no car can push out another that
holds no more than its part.

>>> queue = FairQueue(QueueBounds(), {"car1": 2.0})
>>> for number in "1234":
...     _ = queue.put("car1", "a" + number) + queue.put("car2", "b" + number)
>>> order = []
>>> while queue:
...     taken = queue.take()
...     order.append(taken.item)
...     queue.charge(taken, 0.1)
>>> order
['a1', 'b1', 'a2', 'b2', 'a3', 'a4', 'b3', 'b4']
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")

SHARE_BOUNDS = (0.01, 100.0)
"""Smallest and largest weight of a car's share; without one it is 1."""

_MOST_CHARGE = 4.0
_LEAST_BOUND_S = 1.0


class ShareError(ValueError):
    """A share that makes no sense; the message says whose and what is expected."""


def check_shares(shares: Mapping[str, float]) -> None:
    """Check the cars' shares.

    Raises:
        ShareError: if one is not within ``SHARE_BOUNDS``.
    """
    low, high = SHARE_BOUNDS
    for car, share in shares.items():
        if not low <= share <= high:  # a NaN is not between them either
            raise ShareError(
                f"the share of {car!r} is {share}; expected a number from {low:g} to {high:g}"
            )


def read_shares(texts: Iterable[str]) -> dict[str, float]:
    """Shares by car from texts such as ``car1=2``; empty ones count for nothing.

    >>> read_shares(["car1=2", "/robots/car2 = 0.5", ""])
    {'car1': 2.0, 'robots/car2': 0.5}

    Raises:
        ShareError: if a text is not of that form, or a car is named twice.
    """
    shares: dict[str, float] = {}
    for text in filter(None, texts):
        car, _, number = (part.strip().strip("/") for part in text.rpartition("="))
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not car or math.isnan(share):
            raise ShareError(f"the share {text!r} is not of the form car1=2")
        if car in shares:
            raise ShareError(f"{car!r} has two shares")
        shares[car] = share
    return shares


@dataclass(frozen=True)
class QueueBounds:
    """How much may wait.

    Attributes:
        frames: most frames of one car.
        size_bytes: most bytes of all cars together.
        cars: most cars with frames waiting.
    """

    frames: int = 4
    size_bytes: int = 2**28
    cars: int = 32


class Why(Enum):
    """Why a frame had to make way."""

    NEWER = "a newer frame of its car took its place"
    CARS = "too many cars wait"
    BYTES = "too many bytes wait"


@dataclass(slots=True, eq=False)
class Waiting(Generic[Item]):
    """A frame that waits.

    Attributes:
        car: whose it is.
        item: the frame.
        cost_s: seconds of the server that it is expected to take.
        deadline_s: when it is due; infinite if that is not known.
        size_bytes: what it holds of the memory.
        turn: counts what was put.
        start_tag: its car's tag when it was taken; seconds of the server over the share.
        since: the car's place among others of the same tag, when it was taken.
    """

    car: str
    item: Item
    cost_s: float
    deadline_s: float
    size_bytes: int
    turn: int
    start_tag: float = 0.0
    since: int = 0


@dataclass(slots=True)
class _Car(Generic[Item]):
    """One car's frames; tags are in seconds of the server over the share."""

    share: float
    joined_tag: float = 0.0
    finish_tag: float = 0.0
    since: int = 0
    size_bytes: int = 0
    waiting: list[Waiting[Item]] = field(default_factory=list)

    @property
    def start_tag(self) -> float:
        joined, finish = self.joined_tag, self.finish_tag
        return joined if joined > finish else finish

    @property
    def oldest(self) -> Waiting[Item]:
        return min(self.waiting, key=lambda one: one.turn)


def _due(one: Waiting[Item]) -> tuple[float, int]:
    return one.deadline_s, one.turn


class FairQueue(Generic[Item]):
    """A queue per car before one server.

    Takes no time from anywhere: what a frame took is told by ``charge``. Costs that are negative,
    infinite or no number count as nothing, and one much higher than expected only in part, so that
    a clock that jumps cannot starve a car.

    Attributes:
        shares: of those cars whose share is not 1; see ``set_shares``.
    """

    def __init__(
        self, bounds: QueueBounds | None = None, shares: Mapping[str, float] | None = None
    ) -> None:
        """Prepare.

        Raises:
            ShareError: if a share is not within ``SHARE_BOUNDS``.
        """
        self.bounds = bounds or QueueBounds()
        self._cars: dict[str, _Car[Item]] = {}
        self._count = 0
        self._backlogged = 0
        self._size_bytes = 0
        self._turn = 0
        self._now_tag = 0.0
        self.set_shares(shares or {})

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiting[Item]]:
        """All that wait, car by car."""
        for car in self._cars.values():
            yield from car.waiting

    @property
    def size_bytes(self) -> int:
        """Bytes that wait."""
        return self._size_bytes

    def set_shares(self, shares: Mapping[str, float]) -> None:
        """Change the cars' shares, relative to each other; a car that is not named has 1.

        Raises:
            ShareError: if one is not within ``SHARE_BOUNDS``; then all stay as they are.
        """
        check_shares(shares)
        self.shares = dict(shares)
        for name, queue in self._cars.items():
            queue.share = self.share_of(name)

    def share_of(self, car: str) -> float:
        """A car's share, relative to the others'."""
        return self.shares.get(car, 1.0)

    def put(
        self,
        car: str,
        item: Item,
        *,
        cost_s: float = 0.0,
        deadline_s: float = math.inf,
        size_bytes: int = 0,
    ) -> list[tuple[Waiting[Item], Why]]:
        """Put a frame into its car's queue.

        Args:
            car: whose it is.
            item: the frame.
            cost_s: seconds of the server that it is expected to take.
            deadline_s: when it is due, on any one clock; what is no number counts as infinite.
            size_bytes: its bytes.

        Returns:
            What does not wait any more, or never did, and why.
        """
        turn = self._next_turn()
        due_s = math.inf if math.isnan(deadline_s) else deadline_s
        one = Waiting(car, item, _seconds(cost_s), due_s, max(0, size_bytes), turn)
        queue = self._cars.get(car)
        if queue is None or not queue.waiting:
            if self._backlogged >= self.bounds.cars:
                return [(one, Why.CARS)]
            queue = self._join(car)
        out: list[tuple[Waiting[Item], Why]] = []
        if len(queue.waiting) >= self.bounds.frames:
            out.append((self._remove(queue, queue.oldest), Why.NEWER))
        self._insert(queue, one)
        while self._size_bytes > self.bounds.size_bytes:
            # Of equals the car that asks makes way, by its own frame first.
            most = max(c.size_bytes / c.share for c in self._cars.values())
            if queue.size_bytes / queue.share >= most:
                out.append((self._remove(queue, one), Why.BYTES))
                break
            longest = next(c for c in self._cars.values() if c.size_bytes / c.share >= most)
            out.append((self._remove(longest, longest.oldest), Why.BYTES))
        return out

    def put_back(self, one: Waiting[Item]) -> bool:
        """Put what was taken, and not charged, back where it was; False if its place is taken."""
        queue = self._cars.get(one.car)
        if queue is None:
            queue = self._join(one.car)
        if len(queue.waiting) >= self.bounds.frames:
            return False
        queue.since = one.since
        self._insert(queue, one)
        return True

    def take(self, ready: Callable[[Item], bool] | None = None) -> Waiting[Item] | None:
        """The frame that is next; None if none waits, or none is ready.

        Args:
            ready: which frames can be computed now; None: all.
        """
        best: Waiting[Item] | None = None
        of: _Car[Item] | None = None
        rank = (math.inf, 0)
        for queue in self._cars.values():
            if not queue.waiting:
                continue
            tag = queue.start_tag
            if tag > rank[0] or (tag == rank[0] and queue.since > rank[1]):
                continue
            able = [w for w in queue.waiting if ready(w.item)] if ready else queue.waiting
            if able:
                best = able[0] if len(able) == 1 else min(able, key=_due)
                of, rank = queue, (tag, queue.since)
        if best is None or of is None:
            return None
        best.start_tag, best.since = rank
        # Those who join from now on begin here, without credit for the time before.
        self._now_tag = of.joined_tag = best.start_tag
        of.since = self._next_turn()
        return self._remove(of, best)

    def rank(self, car: str) -> tuple[float, int]:
        """A present car's start tag, and its place among equal ones: the lowest is next."""
        return self._cars[car].start_tag, self._cars[car].since

    def take_too(self, one: Waiting[Item]) -> None:
        """Take a certain frame that waits, to be served together with what was taken before."""
        queue = self._cars[one.car]
        (one.start_tag, one.since), queue.since = self.rank(one.car), self._next_turn()
        self._remove(queue, one)

    def drain(self) -> list[Waiting[Item]]:
        """Take all that wait, in the order in which they were put."""
        taken = sorted(self, key=lambda one: one.turn)
        for one in taken:
            self._remove(self._cars[one.car], one)
        return taken

    def charge(self, taken: Waiting[Item], spent_s: float, *, idle: bool = True) -> None:
        """What was taken has cost so many seconds of the server, which else serves none if idle."""
        queue = self._cars.get(taken.car)
        if queue is not None:
            bound_s = max(_LEAST_BOUND_S, _MOST_CHARGE * taken.cost_s)
            charged_s = min(_seconds(spent_s), bound_s)
            queue.finish_tag = max(queue.finish_tag, taken.start_tag) + charged_s / queue.share
        if idle and not self._count:
            # Nobody waits: everyone starts anew, as in the paper. Tags stay small.
            self._cars.clear()
            self._now_tag = 0.0

    def ready_again(self, ready: Callable[[Item], bool]) -> None:
        """Frames that could not be computed can be now; the wait earns their cars no credit."""
        for queue in self._cars.values():
            if queue.start_tag < self._now_tag and any(ready(w.item) for w in queue.waiting):
                queue.joined_tag = self._now_tag

    def ahead_s(self, car: str, deadline_s: float) -> float:
        """Expected seconds of the server before a frame that would be put now, by the shares.

        That of the frame in service is not among them, nor that of frames that are yet to come.

        Args:
            car: whose frame it would be.
            deadline_s: when that would be due.
        """
        own = self._cars.get(car)
        tag, own_s, share = self._now_tag, 0.0, self.share_of(car)
        if own is not None:
            tag = max(tag, own.finish_tag)
            own_s = sum(w.cost_s for w in self._staying(own) if w.deadline_s <= deadline_s)
        tag += own_s / share
        total_s = own_s
        for queue in self._cars.values():
            if queue is own:
                continue
            other_tag = queue.start_tag
            for one in sorted(queue.waiting, key=_due):
                if other_tag > tag:
                    break
                total_s += one.cost_s
                other_tag += one.cost_s / queue.share
        return total_s

    def _staying(self, queue: _Car[Item]) -> list[Waiting[Item]]:
        """A car's frames that would still wait beside another one."""
        if len(queue.waiting) < self.bounds.frames:
            return queue.waiting
        oldest = queue.oldest
        return [one for one in queue.waiting if one is not oldest]

    def _join(self, name: str) -> _Car[Item]:
        if len(self._cars) >= 2 * self.bounds.cars:
            # Cars that have gone, and are owed nothing, and would owe nothing.
            self._cars = {
                n: c for n, c in self._cars.items() if c.waiting or c.finish_tag > self._now_tag
            }
        queue = self._cars.get(name)
        if queue is None:
            queue = self._cars[name] = _Car(self.share_of(name))
        queue.joined_tag, queue.since = self._now_tag, self._turn
        return queue

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _insert(self, queue: _Car[Item], one: Waiting[Item]) -> None:
        self._backlogged += not queue.waiting
        queue.waiting.append(one)
        queue.size_bytes += one.size_bytes
        self._size_bytes += one.size_bytes
        self._count += 1

    def _remove(self, queue: _Car[Item], one: Waiting[Item]) -> Waiting[Item]:
        queue.waiting.remove(one)
        self._backlogged -= not queue.waiting
        queue.size_bytes -= one.size_bytes
        self._size_bytes -= one.size_bytes
        self._count -= 1
        return one


def _seconds(value: float) -> float:
    return value if 0 < value < math.inf else 0.0
