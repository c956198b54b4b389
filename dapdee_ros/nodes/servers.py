"""The edge servers' names: which ones a car uses, and what one is called.

Where a car may use several, the topics that cross the link to one of them are below its name:
``edge1/head_tensor``, ``edge1/edge_result``. A car's only server needs no name.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rclpy.node import Node

import dapdee_ros.msg as msg
from dapdee_ros.nodes.car import Car
from dapdee_ros.nodes.names import ServerName, UsedServers
from dapdee_ros.nodes.parameters import ParameterError, declare_settings
from dapdee_ros.planning.sites import CAR, EDGE

_LONGEST_NAME = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def server_topic(server: str, channel: str) -> str:
    """The relative name of a topic that crosses the link to a server.

    Args:
        server: its name; ``EDGE`` for the only one.
        channel: the topic's name there is one server.
    """
    return channel if server == EDGE else f"{server}/{channel}"


def link_topics(car: Car | None, server: str) -> Callable[[str], str]:
    """Names the topics of the link between a car and a server, by channel.

    Args:
        car: the car; None: relative names, in the namespace of whoever uses them.
        server: the server's name.
    """

    def named(channel: str) -> str:
        topic = server_topic(server, channel)
        return topic if car is None else car.topic(topic)

    return named


def declare_servers(node: Node) -> list[str]:
    """Declare and read the parameter ``servers``: the names, the favourite first.

    Returns:
        ``[EDGE]`` if it names none.

    Raises:
        ParameterError: if one cannot be a name, or is listed twice.
    """
    given = [name for name in declare_settings(node, UsedServers).servers if name]
    if len(set(given)) < len(given):
        raise ParameterError(f"parameter servers is {given}: a server is listed twice")
    for name in given:
        _check("servers", name)
    return given or [EDGE]


def declare_server(node: Node) -> str:
    """Declare and read the parameter ``server`` of an edge server's node; ``EDGE`` if empty.

    Raises:
        ParameterError: if it cannot be a name.
    """
    given = declare_settings(node, ServerName).server
    if given:
        _check("server", given)
    return given or EDGE


def _check(parameter: str, name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise ParameterError(
            f"parameter {parameter}: {name!r} is no name; expected a letter, then at most "
            f"{_LONGEST_NAME - 1} letters, digits and _"
        )
    if name in (CAR, EDGE):
        raise ParameterError(f"parameter {parameter}: {name!r} has a meaning of its own: rename it")


def task_of_server(task: str, server: str) -> str:
    """What the diagnostics call a task that there is of every server."""
    return task if server == EDGE else f"{task} {server}"


class ServerInUse:
    """The server whose link is shown and recorded: the one that the last sending plan named."""

    def __init__(self) -> None:
        self._name = ""

    def on_plan(self, plan: msg.PartitionPlan) -> None:
        """A plan was told."""
        if plan.boundary and len(plan.sites) > 1:
            self._name = plan.sites[1]

    def is_of(self, link: msg.LinkQuality) -> bool:
        """Whether a link is the one to it; before the first plan the first that comes is."""
        self._name = self._name or link.server
        return link.server in ("", self._name)
