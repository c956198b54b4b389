"""Options of a task as a model's card holds them: JSON values that nobody has checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_MOST = 10_000


class OptionError(ValueError):
    """An option that is missing, wrong, or does not fit the network; the message says which."""


class Options:
    """Reads options by name, each of the kind that is asked for.

    >>> Options({"strides": [8, 16]}).whole_numbers("strides")
    (8, 16)
    >>> Options({"score": 2}).share("score", 0.25)
    Traceback (most recent call last):
    dapdee_ros.tasks.options.OptionError: the option 'score' is 2.0, expected 0 to 1
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def numbers(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """A list of finite numbers."""
        return tuple(self._number(name, value) for value in self._list(name, default))

    def whole_numbers(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """A list of whole numbers of 1 or more."""
        values = self.numbers(name, default)
        if not values or not all(v >= 1 and v == int(v) for v in values):
            raise OptionError(f"the option {name!r} is {list(values)}, expected whole numbers")
        return tuple(int(v) for v in values)

    def pairs(self, name: str) -> tuple[tuple[int, int], ...]:
        """A list of pairs of whole numbers of 1 or more."""
        found = []
        for value in self._list(name, None):
            pair = Options({name: value}).whole_numbers(name)
            if len(pair) != 2:
                raise OptionError(f"the option {name!r} has the entry {value!r}, expected a pair")
            found.append((pair[0], pair[1]))
        return tuple(found)

    def lists(self, name: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers."""
        return tuple(Options({name: value}).numbers(name) for value in self._list(name, None))

    def positive(self, name: str, default: float) -> float:
        """A number above 0."""
        value = self._number(name, self._values.get(name, default))
        if value <= 0:
            raise OptionError(f"the option {name!r} is {value}, expected a number above 0")
        return value

    def share(self, name: str, default: float) -> float:
        """A number from 0 to 1."""
        value = self._number(name, self._values.get(name, default))
        if not 0 <= value <= 1:
            raise OptionError(f"the option {name!r} is {value}, expected 0 to 1")
        return value

    def _list(self, name: str, default: Sequence[float] | None) -> Sequence[Any]:
        values = self._values.get(name, default)
        if values is None:
            raise OptionError(f"the option {name!r} is missing, expected a list")
        if isinstance(values, str) or not isinstance(values, Sequence) or len(values) > _MOST:
            raise OptionError(f"the option {name!r} is {str(values)[:80]!r}, expected a list")
        return values

    @staticmethod
    def _number(name: str, value: Any) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise OptionError(f"the option {name!r} holds {value!r}, expected a finite number")
        return float(value)
