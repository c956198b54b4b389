"""Which waiting frames are served together with one that was taken, as fairly as one by one.

What a batch saves must not change who gets how much. If it took whatever waits, cars that send
enough would all be in every batch, with one frame each, whatever their shares are. So a frame is
taken along only while its car is ahead of the others by no more than that frame: tags (see
``core.fair_queue``) stay together, and with them the shares in the long run. All cars count that
have a frame in the batch or in the queue, whatever part of the network it needs.

>>> from dapdee_ros.core.fair_queue import QueueBounds
>>> queue = FairQueue(QueueBounds(), {"car1": 3.0})
>>> for name in ("car1", "car2", "car3"):
...     _ = queue.put(name, name, cost_s=0.3)
>>> sizes = []
>>> for _ in range(6):
...     batch = [queue.take()]
...     for one in beside(queue, batch[0], 3, lambda one: True):
...         queue.take_too(one)
...         batch.append(one)
...     sizes.append(len(batch))
...     for one in batch:
...         _ = queue.put(one.car, one.item, cost_s=0.3)
...         queue.charge(one, 0.3)
>>> sizes
[3, 3, 3, 1, 1, 3]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from dapdee_ros.core.fair_queue import FairQueue, Waiting

Item = TypeVar("Item")


def beside(
    queue: FairQueue[Item],
    first: Waiting[Item],
    most: int,
    able: Callable[[Waiting[Item]], bool],
) -> list[Waiting[Item]]:
    """Frames to be served together with one that was taken and not charged yet, in fair order.

    Args:
        queue: where they wait; left as it is.
        first: the frame that was taken.
        most: how many at most.
        able: which of them can be.
    """
    waiting = list(queue)
    ranks = {car: queue.rank(car) for car in {first.car, *(one.car for one in waiting)}}
    found: list[Waiting[Item]] = []

    def count(one: Waiting[Item]) -> None:
        tag, since = ranks[one.car]
        ranks[one.car] = tag + one.cost_s / queue.share_of(one.car), since

    count(first)
    candidates = [one for one in waiting if able(one)]
    while candidates and len(found) < most:
        least_tag = min(tag for tag, _ in ranks.values())
        best = min(candidates, key=lambda one: (ranks[one.car], one.deadline_s, one.turn))
        if ranks[best.car][0] > least_tag + best.cost_s / queue.share_of(best.car):
            break
        found.append(best)
        candidates.remove(best)
        count(best)
    return found
