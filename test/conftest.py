"""What tests of every folder share: one thread for each of several workers, and worlds of ROS."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.machine_pauses import MachinePauses

if TYPE_CHECKING:
    from ros_world import RosWorld

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is there: several workers with a thread for each core only wait for each other.
    for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_variable, "1")


_MEASURE = """
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.runtime.own_profile import own_profile

model = load_runnable(find_model("roadsigns"))
for side in ("car", "edge"):
    own_profile(model, 1, side=side)
"""


def _what_is_missing() -> str:
    try:
        import rclpy  # noqa: F401
    except ImportError as error:
        return f"no ROS 2 here ({error}): run 'make setup' and 'source tools/env.sh'"
    try:
        import dapdee_ros.msg  # noqa: F401
    except ImportError as error:
        return f"the messages are not built ({error}): run 'make setup', 'source tools/env.sh'"
    return ""


MISSING = _what_is_missing()
OF_NODES = ("nodes", "launch")


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> pytest.CollectReport | None:
    """Skip the modules of nodes, with the reason, where they could not even be imported."""
    if MISSING and isinstance(collector, pytest.Module) and collector.path.parent.name in OF_NODES:
        where = (str(collector.path), 0, f"Skipped: {MISSING}")
        return pytest.CollectReport(collector.nodeid, "skipped", where, [])
    return None


class PausedMachine:
    """Runs a test of processes once more if it failed while the machine stood still.

    The first failure is reported as well. One without a pause beside it is final.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._pauses = MachinePauses(Path(self._folder.name))
        self._started_s = time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self._started_s = time.monotonic()

    def pytest_unconfigure(self) -> None:
        self._pauses.close()
        self._folder.cleanup()

    def stood_still(self, error: BaseException | None) -> bool:
        """Whether the test that has just ended failed and a core paused since it began."""
        if error is None:
            return False
        pauses = self._pauses.since(self._started_s)
        if pauses:
            seconds = ", ".join(f"{late_s:.2f}" for _, late_s in pauses)
            warnings.warn(f"the machine stood still for {seconds} s", stacklevel=1)
        return bool(pauses)


def pytest_collection() -> None:
    # What is imported stays: looking through it for garbage took a tenth of all tests' time.
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what uses a world of ROS, which `make test-fast` never starts.

    What judges times is run again if the machine stood still.
    """
    machine: PausedMachine | None = None
    for item in items:
        if {"ros", "ros_domain"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.ros)
        if item.get_closest_marker("ros") or item.get_closest_marker("alone"):
            if machine is None:
                machine = PausedMachine()
                config.pluginmanager.register(machine)
            item.add_marker(pytest.mark.flaky(reruns=1, condition=machine.stood_still))


@pytest.fixture
def ros_domain() -> Iterator[int]:
    """A ROS domain for this test alone."""
    from ros_world import DomainLease

    lease = DomainLease()
    try:
        yield lease.domain_id
    finally:
        lease.close()


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ROS home in which this machine's profile of the shipped model lies, measured once."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent  # which all workers of this run share
    home /= "measured"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "dapdee").exists():
            env = {**os.environ, "ROS_HOME": str(home), "OMP_NUM_THREADS": "1"}
            subprocess.run([sys.executable, "-c", _MEASURE], env=env, check=True)
    return home


@pytest.fixture
def ros_home(measured: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ROS home for this test alone: head and edge need not measure this machine each time."""
    home = tmp_path_factory.mktemp("ros_home")
    shutil.copytree(measured / "dapdee", home / "dapdee")
    return home


@pytest.fixture
def ros(
    ros_domain: int, ros_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RosWorld]:
    """A domain and a context of its own; no process is left behind."""
    from ros_world import RosWorld

    # The variables count for this process and for those that it starts.
    monkeypatch.setenv("ROS_DOMAIN_ID", str(ros_domain))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    monkeypatch.setenv("ROS_HOME", str(ros_home))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    world = RosWorld(ros_domain, tmp_path)
    try:
        yield world
    finally:
        world.close()
