"""A ROS world whose link between car and edge is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ros_world import DomainLease

from dapdee_ros.sealing.key_file import KeyRing, new_ring, save_new

NOW = "2026-01-01T00:00:00Z"


@contextmanager
def sealed(folder: Path, name: str = "pair") -> Iterator[dict[str, str]]:
    """The environment of one side with a key of its own, and a domain that nobody else has."""
    lease = DomainLease()
    try:
        yield environment(new_ring(name, NOW), folder, lease.domain_id)
    finally:
        lease.close()


def environment(ring: KeyRing, folder: Path, domain_id: int) -> dict[str, str]:
    """The environment of one side that has these keys, saved in ``folder``."""
    path = folder / f"{ring.name}.json"
    save_new(ring, path)
    return {"DAPDEE_LINK_KEY": str(path), "DAPDEE_LINK_DOMAIN": str(domain_id)}
