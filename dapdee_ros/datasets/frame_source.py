"""What every source of a camera's frames offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SourceError(ValueError):
    """A source that cannot be opened or read; the message says what was expected."""


@dataclass(frozen=True)
class SourceFrame:
    """One frame.

    Attributes:
        image: uint8 ``(H, W, 3)``, red, green, blue, contiguous.
        label: index into the source's ``labels``, or None if the truth is unknown.
    """

    image: NDArray[np.uint8]
    label: int | None = None


class FrameSource(Protocol):
    """What every source offers.

    Attributes:
        labels: the classes' names, empty if the truth is unknown.
        rate_hz: the source's own rate, or None if it has none.
        description: human-readable description.
    """

    labels: tuple[str, ...]
    rate_hz: float | None
    description: str

    def __iter__(self) -> Iterator[SourceFrame | None]: ...

    def __next__(self) -> SourceFrame | None: ...

    def close(self) -> None:
        """Release the device or file."""
