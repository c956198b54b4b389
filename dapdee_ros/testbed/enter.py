"""Run a program on one of the emulated machines: its network, its cgroups, its lifetime.

Started by path as ``python -S enter.py [--netns NAME] [--group FILE]... --owner PID -- COMMAND``,
so it only imports the standard library. ``ip netns exec`` cannot be used: it hides the cgroups by
mounting /sys again.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <sched.h>
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
NAMESPACES = Path("/run/netns")


def entering(
    command: Sequence[str], *, netns: str | None = None, groups: Sequence[Path] = ()
) -> list[str]:
    """The command line that runs ``command`` there, and kills it when this process ends.

    Args:
        command: the program and its arguments.
        netns: name of the network namespace; None stays in this one.
        groups: ``cgroup.procs`` files of the cgroups that it joins.
    """
    line = [sys.executable, "-S", "-E", str(Path(__file__).resolve()), "--owner", str(os.getpid())]
    if netns:
        line += ["--netns", netns]
    for group in groups:
        line += ["--group", str(group)]
    return [*line, "--", *command]


def main() -> None:
    """Enter the machine, then exec the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--netns")
    parser.add_argument("--group", action="append", default=[], type=Path)
    parser.add_argument("--owner", type=int, required=True)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    try:
        # First, so that cleaning up a cgroup finds every process in it.
        for group in args.group:
            group.write_text(str(os.getpid()), encoding="ascii")
        if args.netns:
            _enter_network(NAMESPACES / args.netns)
        # Survives exec, so the command is killed when the thread that started it ends.
        _system_call("prctl", _SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != args.owner:
            sys.exit("enter: the parent process has already ended")
        os.execvp(args.command[0], args.command)
    except OSError as error:
        sys.exit(f"enter: {args.command[0]}: {error}")


def _enter_network(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    _system_call("setns", handle, _NEW_NETWORK)
    os.close(handle)


def _system_call(name: str, *arguments: int) -> None:
    # os.setns is new in Python 3.12, and there is no prctl.
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
