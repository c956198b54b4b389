"""Without a key a node that others can reach says so; one that keeps to this machine is well."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dapdee_ros.estimation.health import Level
from dapdee_ros.nodes.link import OpenEnd

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = pytest.mark.ros


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, Level.WARN),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, Level.WARN),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}, Level.OK),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, Level.OK),
        ({"ROS_LOCALHOST_ONLY": "1"}, Level.OK),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_STATIC_PEERS": "10.0.0.2"},
            Level.WARN,
        ),
        (
            {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_DISCOVERY_SERVER": "10.0.0.2"},
            Level.WARN,
        ),
    ],
)
def test_whoever_can_be_reached_without_a_key_is_insecure(
    ros: RosWorld, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], level: Level
) -> None:
    end = OpenEnd(ros.node())
    monkeypatch.delenv("ROS_AUTOMATIC_DISCOVERY_RANGE")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    health = end.diagnose(0.0)["seal"]
    assert health.level is level
    assert ("insecure" in health.message) == (level is Level.WARN)
