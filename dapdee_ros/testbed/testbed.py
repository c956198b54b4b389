"""Car and edge server on one machine: real nodes, real DDS, a shaped link, a slow car.

The car's processes and the edge's run in a network namespace each, so that their messages cross a
link whose rate the kernel enforces; shared memory is disabled. Each of the car's processes has one
of the car's cores: here, a share of a core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dapdee_ros.engines.slow_engine import slowed_down
from dapdee_ros.errors import CommandError
from dapdee_ros.process_table import car_side, edge_side
from dapdee_ros.processes import Processes, start_all
from dapdee_ros.report.run_log import LinkRecord, RunLog, RunLogError
from dapdee_ros.sealing.configured import KEY_VARIABLE, sealed_link
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.testbed.camera_frames import RENDERED
from dapdee_ros.testbed.car_speed import parse_car
from dapdee_ros.testbed.cpu_quota import CpuGroups, CpuQuotaError
from dapdee_ros.testbed.leftovers import remove_leftovers
from dapdee_ros.testbed.link_player import LinkPlayer
from dapdee_ros.testbed.log_settings import described
from dapdee_ros.testbed.measuring import MeasuringError, measure_machine
from dapdee_ros.testbed.owner import new_name
from dapdee_ros.testbed.settings import TestbedSettings
from dapdee_ros.testbed.shaping import Impairment, ShapingError
from dapdee_ros.testbed.signals import EndOnSignals, Uninterrupted
from dapdee_ros.testbed.veth_link import NamespaceError, VethLink, why_no_link
from dapdee_ros.testbed.window import window

CAR_PROCESSES = ("camera", "head", "manager")
_OPEN_BPS = 1e9
# Variables that would make DDS bypass the link, or not use it at all.
_NOT_PASSED_ON = {
    "ROS_LOCALHOST_ONLY",
    "ROS_STATIC_PEERS",
    "ROS_DISCOVERY_SERVER",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "FASTRTPS_DEFAULT_PROFILES_FILE",
}
_LONGEST_START_S = 90.0
_DRAIN_S = 0.5
_WARM_UP_S = 3.0


class TestbedError(RuntimeError):
    """The testbed cannot be set up, or something in it failed; the message says why."""

    __test__ = False


class Testbed:
    """One car and one edge server; entering starts them, ``run`` measures, leaving removes all.

    Nodes load and find each other without quota and with an unlimited link, so that this takes no
    longer than necessary. Both are set before the first frame, so that nothing is learned of a car
    or a link that are not measured. ``run`` waits until the system has settled, and measures.

    Enter and leave it on one thread: its processes die when that thread ends.

    Attributes:
        settings: what is run.
        slowdown: measured factor by which the car is slower than the edge for the whole network.
        link: the link, whose rate may also be changed manually.
    """

    __test__ = False

    def __init__(
        self,
        settings: TestbedSettings,
        out: Path,
        *,
        profiles: Path | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            settings: what to run.
            out: folder for logs and the run, ``run.json``.
            profiles: folder that caches both machines' profiles, for other runs with the same car;
                None: below ``out``.
            say: called with progress messages.

        Raises:
            CarTextError, LinkTraceError: if the settings are invalid.
        """
        self.settings = settings
        self.slowdown = 1.0
        self._out = out
        self._kept = profiles or out / "machines"
        self._say = say
        self._car = parse_car(settings.car)
        self._trace = parse_link(settings.link)
        self._stack = ExitStack()
        self._signals = EndOnSignals()
        self._groups: CpuGroups | None = None
        self._sides: dict[str, Processes] = {}
        self._started_s = 0.0
        self._name = ""
        self._total_s: dict[str, float] = {}

    def __enter__(self) -> Self:
        if reason := why_no_link():
            raise TestbedError(reason)
        for name in remove_leftovers():
            self._say(f"removed {name}, left by a testbed that was killed")
        try:
            self._signals.install()
            self._start()
        except (CpuQuotaError, MeasuringError, NamespaceError, ShapingError) as error:
            self.close()
            raise TestbedError(str(error)) from error
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

    def close(self) -> None:
        """End every process and remove everything, however far setup got."""
        with Uninterrupted():
            self._stack.close()
        self._signals.remove()

    # --- setting up -----------------------------------------------------------------------------

    def _start(self) -> None:
        settings = self.settings
        self._name = new_name()
        self._started_s = time.monotonic()
        self._out.mkdir(parents=True, exist_ok=True)
        self.link = self._stack.enter_context(
            VethLink(
                _OPEN_BPS,
                impairment=Impairment(settings.delay_s, settings.loss_ratio),
                name=self._name,
            )
        )
        try:
            self._groups = CpuGroups(self._name)
            self._stack.callback(self._groups.close)
        except CpuQuotaError:
            if self._car.quota is not None:
                raise
        self._measure()
        frames = self._frames()
        values: dict[str, Any] = {
            "model": settings.model,
            "engine": settings.engine,
            "threads": settings.threads,
            "deadline_s": settings.deadline,
            "policy": settings.asked_policy,
            "rate_hz": settings.rate,
            "source": settings.source,
            "emulated_slowdown": self._car.emulated_slowdown,
            **frames,
            "link": "none",
            "edge": False,
            "viewer": False,
        }
        for side in ("edge", "car"):
            self._sides[side] = Processes(
                self._folder(side), self._environment(side), enter=self._entering(side)
            )
            self._stack.callback(self._sides[side].stop, within_s=5.0)
        # Lift the quota before stopping them: at a tenth of a core, exiting takes ten times as
        # long.
        self._stack.callback(self._lift_quotas)
        start_all(self._sides["edge"], edge_side(values))
        car = {start.row.executable: start for start in car_side(values)}
        camera = car.pop("camera")
        start_all(
            self._sides["car"], list(car.values()), {"manager": settings.manager_parameters()}
        )
        self._sides["car"].start(
            "run_recorder",
            {
                "model": settings.model,
                "path": str(self._raw_log),
                "started_s": self._started_s,
                "print_status": True,
            },
        )
        # Not before there is a plan, or the first frames would queue up in front of a waiting car.
        self._wait("manager", "plan 1:")
        of_camera = {"seed": 1, "warm_up_s": _WARM_UP_S}
        start_all(self._sides["car"], [camera], {"camera": of_camera})
        self._wait("camera", "frames/s")
        # It has found the others and they have found it, and no frame has come.
        self._watch(_WARM_UP_S / 2)
        for process in CAR_PROCESSES:
            self._limit(process, self._car.quota)
        self.link.change(self._trace.rate_bps(0.0))
        self._wait("run_recorder", " frames ")

    def _measure(self) -> None:
        settings = self.settings
        for side, quota in (("edge", None), ("car", self._car.quota)):
            group = f"measure_{side}"
            self._make_group(group)
            profile = measure_machine(
                settings.model,
                settings.engine,
                settings.threads,
                side,
                self._environment(side),
                partial(self._entering(side), group),
                partial(self._limit, group, quota),
                self._folder(side) / "measuring.log",
            )
            if side == "car" and self._car.emulated_slowdown > 1:
                profile = slowed_down(profile, self._car.emulated_slowdown)
            profile.save(self._folder(side) / "profile.json")
            self._total_s[side] = profile.total_s
        total_s = self._total_s
        self.slowdown = total_s["car"] / total_s["edge"]
        quota = self._car.quota
        self._say(
            f"car {self._car.text}"
            + (f", {quota:g} of a core per process" if quota else ", no quota")
            + f": {settings.model} takes {1e3 * total_s['car']:.1f} ms there and "
            f"{1e3 * total_s['edge']:.1f} ms on the edge, {self.slowdown:.1f} times less"
        )

    def _frames(self) -> dict[str, str]:
        """Where the camera's frames come from."""
        if self.settings.source in RENDERED:
            return RENDERED[self.settings.source](self._kept)
        return {"path": self.settings.path} if self.settings.path else {}

    def _folder(self, side: str) -> Path:
        folder = self._out / side
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def saved_log(self) -> Path:
        """Where ``run`` saves the log."""
        return self._out / "run.json"

    @property
    def _raw_log(self) -> Path:
        return self._out / "recorded.json"

    def _environment(self, side: str) -> dict[str, str]:
        settings = self.settings
        domain = settings.domain if settings.domain is not None else 1 + os.getpid() % 101
        # One folder per speed, for the machine's own profiles.
        home = self._kept / ("edge" if side == "edge" else self._car.text.replace(":", "-"))
        environment = {
            **{name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON},
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
            # Shared memory would bypass the link.
            "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
            "ROS_HOME": str(home.resolve()),
            "ROS_LOG_DIR": str((self._folder(side) / "ros").resolve()),
            "OMP_NUM_THREADS": str(settings.threads),
            "OPENBLAS_NUM_THREADS": str(settings.threads),
        }
        # Only with an explicit key: a measurement must not depend on which keys are in a folder.
        if link := sealed_link(os.environ) if os.environ.get(KEY_VARIABLE) else None:
            environment[KEY_VARIABLE] = str(link.key_file)
        return environment

    def _entering(self, side: str) -> Callable[[str, Sequence[str]], list[str]]:
        def enter(process: str, command: Sequence[str]) -> list[str]:
            return self.link.inside(side, command, self._make_group(process))

        return enter

    def _make_group(self, process: str) -> list[Path]:
        return [] if self._groups is None else [self._groups.make(process)]

    def _limit(self, process: str, quota: float | None) -> None:
        if self._groups is not None:
            self._groups.limit(process, quota)

    def _lift_quotas(self) -> None:
        for process in CAR_PROCESSES:
            self._make_group(process)
            self._limit(process, None)

    # --- running --------------------------------------------------------------------------------

    def run(self) -> RunLog:
        """Play the link for as long as the settings say, and return what happened.

        It can be done once; afterwards the processes have ended. The log is also saved as
        ``run.json`` in the output folder.

        Raises:
            TestbedError: if a process ends by itself, or the link cannot be changed.
        """
        settings = self.settings
        try:
            player = LinkPlayer(self._trace, self.link.change)
            self._say(f"link {self._trace.describe()}; settling for {settings.settle_s:g} s")
            self._watch(settings.settle_s)
            start_s = time.monotonic()
            self._say(f"measuring for {settings.seconds:g} s")
            player.start(start_s)
            try:
                self._watch(settings.seconds, player.check)
            finally:
                player.stop()
            seconds = time.monotonic() - start_s
            self._drain()
            return self._log(start_s, seconds, player)
        except (CommandError, CpuQuotaError, RunLogError, ShapingError) as error:
            raise TestbedError(str(error)) from error

    def _wait(self, process: str, words: str) -> None:
        end_s = time.monotonic() + _LONGEST_START_S
        while not self._sides["car"].has_said(process, words):
            self._check()
            if time.monotonic() > end_s:
                raise TestbedError(
                    f"{process} did not say {words!r} within {_LONGEST_START_S:.0f} s; the logs "
                    f"of all nodes are in {self._out}"
                )
            time.sleep(0.1)

    def _watch(self, seconds: float, check: Callable[[], None] | None = None) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._check()
            if check is not None:
                check()
            time.sleep(min(0.2, left_s))

    def _check(self) -> None:
        try:
            for processes in self._sides.values():
                processes.check()
        except CommandError as error:
            raise TestbedError(str(error)) from error

    def _drain(self) -> None:
        """End the processes in an order that lets every frame be answered."""
        car = self._sides["car"]
        car.stop(["camera"], within_s=5.0)
        time.sleep(1.2 * self.settings.deadline + _DRAIN_S)
        self._lift_quotas()
        car.stop(["head"], within_s=8.0)
        time.sleep(_DRAIN_S)
        car.stop(within_s=8.0)
        self._sides["edge"].stop(within_s=8.0)

    def _log(self, start_s: float, seconds: float, player: LinkPlayer) -> RunLog:
        settings = self.settings
        whole = RunLog.load(self._raw_log)
        log = window(whole, start_s - self._started_s, seconds)
        log.link_truth = [
            LinkRecord(at_s, rate_bps, 2 * settings.delay_s, rate_bps > 0)
            for at_s, rate_bps in player.played
        ]
        log.settings = described(
            settings, log, seconds, len(whole.frames), self._car.quota, self._total_s
        )
        log.save(self.saved_log)
        return log
