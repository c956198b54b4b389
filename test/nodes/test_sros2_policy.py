"""The SROS2 policy names the topics that the nodes have, none too many and none too few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from sealed_world import sealed

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

# With a source of time, every node hears it; parameters and logs are the same for all.
COMMON = {"/rosout", "/parameter_events", "/clock"}
START_S = 60.0


def policy() -> dict[str, dict[str, set[str]]]:
    """Topics by node and by what may be done with them."""
    from ros_world import ROOT

    found: dict[str, dict[str, set[str]]] = {}
    for profile in ElementTree.parse(ROOT / "config" / "sros2_policy.xml").iter("profile"):
        node = found.setdefault(profile.get("node", ""), {"publish": set(), "subscribe": set()})
        for topics in profile.iter("topics"):
            for action in ("publish", "subscribe"):
                if topics.get(action) == "ALLOW":
                    names = [(topic.text or "") for topic in topics.iter("topic")]
                    node[action] |= {"/" + name.lstrip("/") for name in names}
    return found


def topics_of(node: Node, name: str) -> dict[str, set[str]]:
    try:
        published = node.get_publisher_names_and_types_by_node(name, "/")
        subscribed = node.get_subscriber_names_and_types_by_node(name, "/")
    except Exception:  # not discovered yet; rclpy raises NodeNameNonExistentError
        return {"publish": set(), "subscribe": set()}
    # What belongs to the lifecycle's services is not the node's to name.
    skip = {f"/{name}/transition_event", *COMMON}
    return {
        "publish": {topic for topic, _ in published} - skip,
        "subscribe": {topic for topic, _ in subscribed} - skip,
    }


def test_every_node_has_the_topics_that_the_policy_gives_it(ros: RosWorld, tmp_path: Path) -> None:
    watching = ros.node("watching")
    with sealed(tmp_path) as env:
        context = Context()
        rclpy.init(args=[], context=context, domain_id=int(env["DAPDEE_LINK_DOMAIN"]))
        beyond = Node("watching", context=context)
        try:
            for executable in ("head", "manager", "camera", "edge", "fleet"):
                ros.start(executable, {}, env=env)
            ros.start(
                "load_monitor", {"machine": "edge"}, "-r", "__node:=edge_load_monitor", env=env
            )
            wanted = policy()

            def left(name: str) -> dict[str, set[str]]:
                inside, outside = topics_of(watching, name), topics_of(beyond, name)
                return {
                    action: wanted[name][action] ^ (inside[action] | outside[action])
                    for action in ("publish", "subscribe")
                }

            # The manager hears with one node what the others of its process need; the head takes
            # compressed images where nobody publishes others, and the camera publishes them if it
            # is told to.
            spared = {
                ("head", "subscribe"): {"/image_raw/compressed"},
                ("camera", "publish"): {"/image_raw/compressed"},
                ("partition_manager", "subscribe"): {
                    "/edge/profile",
                    "/edge/load",
                    "/fleet_price",
                },
                ("partition_manager", "publish"): {"/fleet_demand"},
                ("link_monitor", "subscribe"): {"/inference"},
                ("load_monitor", "subscribe"): {"/inference"},
            }

            def wrong() -> dict[str, dict[str, set[str]]]:
                found = {name: left(name) for name in wanted}
                for (name, action), topics in spared.items():
                    found[name][action] -= topics
                return {name: each for name, each in found.items() if any(each.values())}

            try:
                ros.spin_until(lambda: not wrong(), START_S)
            except AssertionError:
                raise AssertionError(f"too many or too few topics: {wrong()}") from None
        finally:
            beyond.destroy_node()
            rclpy.shutdown(context=context)
