"""How this process's memory is handed out and given back; with glibc, elsewhere nothing happens."""

from __future__ import annotations

import contextlib
import ctypes

_M_ARENA_MAX = -8
_ARENAS = 2


def use_few_arenas() -> None:
    """Have all threads share two heaps; call it before there are threads.

    Otherwise each thread of the middleware gets one of its own, and keeps the largest message that
    ever went through it.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, _ARENAS)


def give_back_memory() -> None:
    """Return to the system what is free; the allocator would keep most of it."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
