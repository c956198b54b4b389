"""Calling services of nodes that have only just been discovered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ros_world import RosWorld

_PATIENCE_S = 4.0


def ask(ros: RosWorld, call: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """Call a service that changes nothing until it answers.

    A client is ready as soon as its requests arrive; on a busy machine the way back is found a
    moment later, and an answer before that is lost.

    Args:
        ros: spins.
        call: makes the call and returns its future.
        timeout_s: how long to go on.
    """
    for _ in range(round(timeout_s / _PATIENCE_S)):
        future = call()
        try:
            ros.spin_until(future.done, _PATIENCE_S)
        except AssertionError:
            continue
        return future.result()
    raise AssertionError(f"no answer within {timeout_s} s")
