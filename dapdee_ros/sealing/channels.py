"""The channels of the link: who sends what to whom."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """The role of a process that communicates over the link."""

    HEAD = 1
    MANAGER = 2
    EDGE = 3
    EDGE_LOAD = 4
    FLEET = 5


OPTIONAL = frozenset({Role.FLEET})
"""Roles that nobody misses: the others work without them."""

ALIVE = "alive"
"""Channel of every pair: a keep-alive without content."""

CHANNELS: dict[str, tuple[Role, Role]] = {
    "head_tensor": (Role.HEAD, Role.EDGE),
    "edge_result": (Role.EDGE, Role.HEAD),
    "probe": (Role.MANAGER, Role.EDGE),
    "probe_echo": (Role.EDGE, Role.MANAGER),
    "edge/profile": (Role.EDGE, Role.MANAGER),
    "edge/load": (Role.EDGE_LOAD, Role.MANAGER),
    "fleet_demand": (Role.MANAGER, Role.FLEET),
    "fleet_price": (Role.FLEET, Role.MANAGER),
}
"""Sender and receiver per channel; the channel's name is also its topic's."""


def partners(role: Role) -> frozenset[Role]:
    """The roles that a role exchanges messages with."""
    pairs = [pair for pair in CHANNELS.values() if role in pair]
    return frozenset(other for pair in pairs for other in pair if other != role)
