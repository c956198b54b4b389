"""Two network namespaces with a shaped link between them: a car's radio, on one machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from types import TracebackType
from typing import Self


def why_not() -> str:
    """Why no such link can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing (Debian and Ubuntu: apt install iproute2)"
    probe = f"dapdee-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode != 0:
        return f"this system makes no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", probe], check=False)
    return ""


class ShapedLink:
    """The namespaces ``car`` and ``edge`` with a veth pair, each direction behind a token bucket.

    The bucket is small (4 kB), so that even a short message takes the time that the rate says.
    """

    def __init__(self, rate_kbit: int) -> None:
        self._rate_kbit = rate_kbit
        self._names = {side: f"dapdee-{side}-{os.getpid()}" for side in ("car", "edge")}

    def __enter__(self) -> Self:
        try:
            for name in self._names.values():
                _run("ip", "netns", "add", name)
                _run("ip", "-n", name, "link", "set", "lo", "up")
            car, edge = self._names["car"], self._names["edge"]
            _run(
                *("ip", "link", "add", "veth0", "netns", car, "type", "veth"),
                *("peer", "name", "veth0", "netns", edge),
            )
            for number, name in enumerate((car, edge), start=1):
                _run("ip", "-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "veth0")
                _run("ip", "-n", name, "link", "set", "veth0", "up", "multicast", "on")
                _run("ip", "-n", name, "route", "add", "224.0.0.0/4", "dev", "veth0")
            self.shape(self._rate_kbit)
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

    def shape(self, rate_kbit: int) -> None:
        """Set the rate of both directions."""
        for name in self._names.values():
            _run(
                *("tc", "-n", name, "qdisc", "replace", "dev", "veth0", "root", "tbf"),
                *("rate", f"{rate_kbit}kbit", "burst", "4kb", "limit", "1mb"),
            )

    def inside(self, side: str, *command: str) -> list[str]:
        """A command line that runs ``command`` in the namespace of ``car`` or ``edge``."""
        return ["ip", "netns", "exec", self._names[side], *command]

    def close(self) -> None:
        """Remove both namespaces, and with them the link."""
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
