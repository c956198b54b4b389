"""A slower processor by CPU quota, with cgroup v1 or v2."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEAST_QUOTA = 0.001
PERIOD_S = 0.01
"""Short, so that a throttled process runs smoothly: at a tenth of a core 1 ms in every 10 ms."""

_LEAST_SLICE_S = 0.001  # the kernel accepts no quota below 1 ms per period
_EMPTY_WITHIN_S = 5.0


class CpuQuotaError(RuntimeError):
    """No CPU quota can be set here; the message says why."""


@dataclass(frozen=True)
class Hierarchy:
    """The system's cgroup hierarchy for CPU quotas.

    Attributes:
        path: root folder.
        version: 1 or 2.
    """

    path: Path
    version: int


def find_hierarchy(mounts: str) -> Hierarchy:
    """The cgroup hierarchy of this system.

    Args:
        mounts: content of ``/proc/mounts``.

    Raises:
        CpuQuotaError: if there is none.
    """
    for line in mounts.splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup" and "cpu" in options.split(","):
            return Hierarchy(Path(path), 1)
    for line in mounts.splitlines():
        _, path, kind, *_ = line.split()
        controllers = Path(path) / "cgroup.controllers"
        if kind == "cgroup2" and controllers.is_file() and "cpu" in controllers.read_text().split():
            return Hierarchy(Path(path), 2)
    raise CpuQuotaError(
        "this system has no CPU groups (neither the cpu controller of cgroup v1 nor that of v2 is "
        "mounted)"
    )


class CpuGroups:
    """One cgroup per process below a common one, each with its own quota or none."""

    def __init__(self, name: str, hierarchy: Hierarchy | None = None) -> None:
        """Create the common cgroup.

        Args:
            name: its name.
            hierarchy: its location; this system's if None.

        Raises:
            CpuQuotaError: if that is impossible.
        """
        self._hierarchy = hierarchy or find_hierarchy(Path("/proc/mounts").read_text())
        self._folder = self._hierarchy.path / name
        try:
            if self._hierarchy.version == 2:
                _pass_on_cpu(self._hierarchy.path)
            self._folder.mkdir()
            self._weigh_more()
            if self._hierarchy.version == 2:
                _pass_on_cpu(self._folder)
        except OSError as error:
            self.close()
            raise CpuQuotaError(
                f"no CPU group can be made in {self._hierarchy.path}: {error.strerror}"
            ) from error

    def _weigh_more(self) -> None:
        """Ten times the usual weight, so that other load does not affect the measurement."""
        if self._hierarchy.version == 2:
            (self._folder / "cpu.weight").write_text("1000")
        else:
            (self._folder / "cpu.shares").write_text("10240")

    def make(self, name: str, quota: float | None = None) -> Path:
        """Create a cgroup, or return the existing one.

        Args:
            name: its name.
            quota: share of one core that its processes may use together; None: no bound.

        Returns:
            The file to which a process writes its id to join it.
        """
        folder = self._folder / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CpuQuotaError(f"no CPU group {folder}: {error.strerror}") from error
        self.limit(name, quota)
        return folder / "cgroup.procs"

    def limit(self, name: str, quota: float | None) -> None:
        """Set or lift the quota of a cgroup; takes effect at once for its processes."""
        folder = self._folder / name
        try:
            if self._hierarchy.version == 2:
                text = "max" if quota is None else " ".join(str(us) for us in quota_us(quota))
                (folder / "cpu.max").write_text(text)
                return
            quota_file = folder / "cpu.cfs_quota_us"
            if quota is None:
                quota_file.write_text("-1")
                return
            quota_time_us, period_us = quota_us(quota)
            # Lifted first: the kernel checks either value against the other.
            quota_file.write_text("-1")
            (folder / "cpu.cfs_period_us").write_text(str(period_us))
            quota_file.write_text(str(quota_time_us))
        except OSError as error:
            raise CpuQuotaError(
                f"the quota {quota} of {folder} cannot be set: {error.strerror}"
            ) from error

    def throttled_s(self, name: str) -> float:
        """How long the cgroup's threads have been throttled, in s."""
        for line in (self._folder / name / "cpu.stat").read_text().splitlines():
            key, value = line.split()
            if key == "throttled_usec":
                return int(value) / 1e6
            if key == "throttled_time":
                return int(value) / 1e9
        return 0.0

    def close(self) -> None:
        """Kill what still runs in the cgroups, and remove them."""
        remove_group(self._folder)


def quota_us(quota: float) -> tuple[int, int]:
    """Quota and period in microseconds for a share of one core.

    Raises:
        ValueError: if the share is too small for the kernel.
    """
    if not quota >= LEAST_QUOTA:
        raise ValueError(f"a quota is at least {LEAST_QUOTA} of a core, got {quota}")
    period_s = max(PERIOD_S, _LEAST_SLICE_S / quota)
    return round(1e6 * quota * period_s), round(1e6 * period_s)


def groups_here() -> Iterator[Path]:
    """The folders of all top-level cgroups; none if there are no cgroups."""
    with contextlib.suppress(CpuQuotaError, OSError):
        root = find_hierarchy(Path("/proc/mounts").read_text()).path
        yield from [path for path in root.iterdir() if path.is_dir()]


def remove_group(folder: Path) -> None:
    """Kill what runs in a cgroup and those below it, and remove them, if they still exist."""
    if not folder.is_dir():
        return
    below = [path for path in folder.iterdir() if path.is_dir()]
    end_s = time.monotonic() + _EMPTY_WITHIN_S
    while time.monotonic() < end_s:
        pids = [pid for path in (*below, folder) for pid in _pids(path)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not pids:
            break
        time.sleep(0.02)
    for path in (*below, folder):
        # Another process may be removing it as well; what cannot be removed is left for the next
        # run.
        with contextlib.suppress(OSError):
            path.rmdir()


def _pids(folder: Path) -> list[int]:
    try:
        pids = [int(word) for word in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []
    # A process in an invisible namespace is listed as 0, which kill() interprets as the caller's
    # own group.
    return [pid for pid in pids if pid > 0]


def _pass_on_cpu(folder: Path) -> None:
    """Enable quotas for the cgroups below this one (cgroup v2)."""
    control = folder / "cgroup.subtree_control"
    if "cpu" not in control.read_text().split():
        control.write_text("+cpu")
