"""How loaded a side is over time: its slowdown, measured over profiled seconds."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

LOAD_TEXT_HELP = "a number such as 1.5, or steps such as 1@0,3@20,1@40 (slowdown from that second)"


class LoadTraceError(ValueError):
    """An invalid load over time; the message says why."""


@dataclass(frozen=True)
class LoadTrace:
    """A slowdown that changes at given times and then holds.

    Attributes:
        edges_s: when a value begins, first 0, strictly rising.
        slowdowns: the values, above 0; 1 is as profiled.

    Raises:
        LoadTraceError: at construction, if that does not hold.
    """

    edges_s: tuple[float, ...] = (0.0,)
    slowdowns: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        edges, values = self.edges_s, self.slowdowns
        if not edges or len(edges) != len(values):
            raise LoadTraceError(f"{len(edges)} times and {len(values)} slowdowns don't pair up")
        if edges[0] != 0 or any(b <= a for a, b in pairwise(edges)):
            raise LoadTraceError("the steps of a load must start at 0 s and follow in time")
        if not all(math.isfinite(v) and v > 0 for v in values):
            raise LoadTraceError(f"slowdowns are {list(values)}; expected finite numbers above 0")

    def at(self, now_s: float) -> float:
        """The slowdown at a time."""
        return self.slowdowns[max(0, bisect_right(self.edges_s, now_s) - 1)]


def parse_load(text: str) -> LoadTrace:
    """Read a load; ``LOAD_TEXT_HELP`` lists the forms.

    Raises:
        LoadTraceError: if the text is none of them.
    """
    if "@" not in text:
        return LoadTrace((0.0,), (_number(text, text),))
    edges, values = [], []
    for part in text.split(","):
        value, at, when = part.strip().partition("@")
        if not at:
            raise LoadTraceError(f"in {text!r}: expected {LOAD_TEXT_HELP}, got {part!r}")
        values.append(_number(value, text))
        edges.append(_number(when, text))
    return LoadTrace(tuple(edges), tuple(values))


def _number(word: str, text: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise LoadTraceError(f"{text!r} is no load; expected {LOAD_TEXT_HELP}") from None
