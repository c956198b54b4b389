"""Settings of an edge server whose network runs on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.core.settings import check_settings, setting


@dataclass(frozen=True)
class RaySettings:
    """Settings of the edge's engine ray.

    Raises:
        SettingError: at construction, for the first invalid one.
    """

    ray: str = setting(
        "",
        "The Ray cluster whose machines compute, as host:port of its head, or auto for the one to "
        "which this machine belongs; implies engine ray. Empty: with that engine, one is started "
        "on this machine, and ends with the node.",
        on_configure=True,
        note="host:port of a Ray cluster's head, or auto: its machines compute",
    )
    ray_replicas: int = setting(
        2,
        "With engine ray: replicas of the network, the fewest where there may be more. Each is a "
        "process with as many threads as threads says, on whichever machine of the cluster has so "
        "many processors free.",
        bounds=(1, 1000),
        on_configure=True,
        note="with engine ray: replicas of the network, at least",
    )
    ray_most_replicas: int = setting(
        0,
        "With engine ray: most replicas. They are added while all have as much to do as they can, "
        "and removed again. Not above ray_replicas: it is always that many.",
        bounds=(0, 1000),
        on_configure=True,
        note="with engine ray: replicas at most, added under load; 0: always ray_replicas",
    )
    ray_in_flight: int = setting(
        2,
        "With engine ray: runs that a replica has at once. It computes one while the next is on "
        "its way; with more, frames wait where their order is fixed.",
        bounds=(1, 64),
        on_configure=True,
        note="with engine ray: runs that a replica has at once",
    )
    ray_queued: int = setting(
        8,
        "With engine ray: most runs that wait for a replica after others have gone; beyond, frames "
        "are refused as busy.",
        bounds=(1, 10_000),
        on_configure=True,
        note="with engine ray: runs that may wait for a replica; beyond, frames are refused",
    )
    ray_idle_s: float = setting(
        30.0,
        "With engine ray: seconds of little to do after which a replica above ray_replicas is "
        "removed.",
        unit="s",
        bounds=(1.0, 86_400.0),
        on_configure=True,
        note="with engine ray: seconds of little to do before a replica is removed",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def most_replicas(self) -> int:
        """Replicas that there may be."""
        return max(self.ray_replicas, self.ray_most_replicas)
