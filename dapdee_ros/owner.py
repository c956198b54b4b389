"""A node that was started by a dapdee command ends with it, even if that is killed.

Otherwise it would go on without anyone who supervises it, and whoever starts the command again
would have two of each node.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

OWNER_VARIABLE = "DAPDEE_OWNER"
"""Environment variable with the process id of the command that started a node."""

_GET_DEATH_SIGNAL, _SET_DEATH_SIGNAL = 2, 1  # of <linux/prctl.h>


def end_with_owner() -> None:
    """Have the kernel send SIGTERM to this process when the thread that started it ends.

    Nothing happens if ``OWNER_VARIABLE`` is not set, another signal is set already, or the kernel
    is not Linux.

    Raises:
        SystemExit: if the owner has ended already.
    """
    owner = os.environ.get(OWNER_VARIABLE, "")
    if not owner.isdecimal() or not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    already = ctypes.c_int()
    with contextlib.suppress(AttributeError):
        libc.prctl(_GET_DEATH_SIGNAL, ctypes.byref(already))
        if already.value:
            return
        libc.prctl(_SET_DEATH_SIGNAL, signal.SIGTERM)
    # It may have ended before that was set.
    if os.getppid() != int(owner):
        sys.exit(f"process {owner}, which started this one, has ended")
