"""Stops a training between two steps."""

from __future__ import annotations

import signal
from types import FrameType


class Stopper:
    """Turns Ctrl-C and SIGTERM into a flag that the training checks between steps."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Stopper:
        kinds = (signal.SIGINT, signal.SIGTERM)
        self._before = {kind: signal.signal(kind, self._ask) for kind in kinds}
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)

    def _ask(self, _kind: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
