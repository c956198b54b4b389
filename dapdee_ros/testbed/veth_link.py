"""Two network namespaces with a shaped link between them: a car's radio, on one machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from dapdee_ros.testbed.enter import NAMESPACES, entering
from dapdee_ros.testbed.owner import new_name
from dapdee_ros.testbed.shaping import (
    DEVICE,
    MTU_BYTES,
    Impairment,
    RateControl,
    ShapingError,
    impair,
)

SIDES = ("car", "edge")
QUEUE_BYTES = 1_000_000
_EMPTY_WITHIN_S = 5.0


class NamespaceError(RuntimeError):
    """Namespaces or the link between them cannot be created; the message says why."""


def why_no_link() -> str:
    """Why no such link can be created here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing (Debian and Ubuntu: apt install iproute2)"
    try:
        with VethLink(1e6):
            return ""
    except (NamespaceError, ShapingError) as error:
        return f"this system cannot create a shaped link between namespaces: {error}"


class VethLink:
    """The namespaces of ``car`` and ``edge`` with a veth pair, a token bucket in each direction.

    Attributes:
        rate_bps: the present rate of both directions in bit/s.
    """

    def __init__(
        self,
        rate_bps: float,
        *,
        impairment: Impairment | None = None,
        queue_bytes: int = QUEUE_BYTES,
        name: str | None = None,
    ) -> None:
        """Prepare; entering the context creates the link.

        Args:
            rate_bps: initial rate of both directions, headers included.
            impairment: delay and loss of each direction; needs netem.
            queue_bytes: size of the queue in each direction.
            name: prefix of both namespaces' names; None: a new one.
        """
        self.rate_bps = rate_bps
        self._impairment = impairment or Impairment()
        self._queue_bytes = queue_bytes
        prefix = name or new_name()
        self.names = {side: f"{prefix}-{side}" for side in SIDES}
        self._controls: list[RateControl] = []

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _make(self) -> None:
        for name in self.names.values():
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        car, edge = self.names["car"], self.names["edge"]
        _run(
            *("ip", "link", "add", DEVICE, "address", _hardware(1), "netns", car, "type", "veth"),
            *("peer", "name", DEVICE, "address", _hardware(2), "netns", edge),
        )
        for number, name in enumerate((car, edge), start=1):
            # Without IPv6 only the nodes' messages cross the link.
            switch = f"/proc/sys/net/ipv6/conf/{DEVICE}/disable_ipv6"
            _run(*entering(["sh", "-c", f"test ! -e {switch} || echo 1 > {switch}"], netns=name))
            _run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", DEVICE)
            # The queue counts packets; many are smaller than the largest.
            packets = max(100, 2 * self._queue_bytes // MTU_BYTES)
            _run(
                *("ip", "-n", name, "link", "set", DEVICE),
                *("mtu", str(MTU_BYTES), "txqueuelen", str(packets)),
            )
            _run("ip", "-n", name, "link", "set", DEVICE, "up", "multicast", "on")
            _run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", DEVICE)
            # Static neighbour entries. With ARP, an entry could expire in an outage, and resolving
            # it again takes seconds, unlike on a modem.
            _run(
                *("ip", "-n", name, "neigh", "replace", f"10.77.0.{3 - number}"),
                *("lladdr", _hardware(3 - number), "dev", DEVICE, "nud", "permanent"),
            )
        for name in (car, edge):
            control = RateControl(
                name, self.rate_bps, self._queue_bytes, filled=self._impairment.is_none
            )
            self._controls.append(control)
            if not self._impairment.is_none:
                impair(name, self._impairment, self._queue_bytes)

    def change(self, rate_bps: float) -> None:
        """Set the rate of both directions, in bit/s; 0: nothing passes."""
        for control in self._controls:
            control.change(rate_bps)
        self.rate_bps = rate_bps

    def inside(self, side: str, command: Sequence[str], groups: Sequence[Path] = ()) -> list[str]:
        """A command line that runs ``command`` on one side, and ends with this process.

        Args:
            side: ``car`` or ``edge``.
            command: the program and its arguments.
            groups: ``cgroup.procs`` files of cgroups that it joins.
        """
        return entering(command, netns=self.names[side], groups=groups)

    def carried_bytes(self, side: str) -> int:
        """Bytes that one side has sent over the link so far, headers included, without filler."""
        return self._controls[SIDES.index(side)].carried_bytes()

    def close(self) -> None:
        """Kill what still runs in the namespaces, and remove them and the link."""
        try:
            for control in self._controls:
                control.close()
        finally:
            self._controls = []
            for name in self.names.values():
                remove_namespace(name)


def remove_namespace(name: str) -> None:
    """Kill what runs in a namespace, and remove it, if it still exists."""
    if not (NAMESPACES / name).exists():
        return
    end_s = time.monotonic() + _EMPTY_WITHIN_S
    while time.monotonic() < end_s:
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
        pids = [int(word) for word in listed.stdout.split()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.02)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _hardware(number: int) -> str:
    return f"02:00:0a:4d:00:{number:02x}"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise NamespaceError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
