"""Settings that name the cars and edge servers which belong together."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.core.settings import setting


@dataclass(frozen=True)
class ServedCars:
    """Settings of the edge server's processes."""

    cars: tuple[str, ...] = setting(
        ("",),
        "Namespaces of the cars to serve, such as ['car1', 'car2']; an empty one is the node's "
        "own. With a sealed link every car has its own key (docs/security.md).",
        note='namespaces of the cars to serve, such as [car1, car2]; "": the edge\'s own',
    )


@dataclass(frozen=True)
class UsedServers:
    """Which edge servers a car uses: settings of head, manager and link monitor."""

    servers: tuple[str, ...] = setting(
        ("",),
        "Names of the edge servers that this car may use, such as ['edge1', 'edge2'], the "
        "favourite first: the same for head, partition manager and link monitor, and each the "
        "parameter server of an edge. Empty: one edge server, without a name.",
        note="names of the edge servers to use, such as [edge1, edge2]; empty: one, without a name",
    )


@dataclass(frozen=True)
class ServerName:
    """What an edge server is called: a setting of its processes."""

    server: str = setting(
        "",
        "Name of this edge server, where cars use several: as in their parameter servers. Empty: "
        "the cars' only one.",
        note="its name, where cars use several servers",
    )
