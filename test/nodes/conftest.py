"""Every test here has a ROS domain and a context of its own, and leaves no process behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_world import RosWorld


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


@pytest.hookimpl(tryfirst=True)
def pytest_make_collect_report(collector: pytest.Collector) -> pytest.CollectReport | None:
    """Skip the modules here, with the reason, where they could not even be imported."""
    if MISSING and isinstance(collector, pytest.Module):
        where = (str(collector.path), 0, f"Skipped: {MISSING}")
        return pytest.CollectReport(collector.nodeid, "skipped", where, [])
    return None


@pytest.fixture
def ros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RosWorld]:
    """A ROS world for this test alone."""
    from ros_world import DomainLease, RosWorld

    lease = DomainLease()
    # The variables count for this process and for those that it starts.
    monkeypatch.setenv("ROS_DOMAIN_ID", str(lease.domain_id))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "ros_log"))
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros_home"))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    try:
        world = RosWorld(lease.domain_id, tmp_path)
        try:
            yield world
        finally:
            world.close()
    finally:
        lease.close()
