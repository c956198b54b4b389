"""Remove leftovers of testbeds that were killed before they could clean up."""

from __future__ import annotations

from dapdee_ros.testbed.cpu_quota import groups_here, remove_group
from dapdee_ros.testbed.enter import NAMESPACES
from dapdee_ros.testbed.owner import is_abandoned
from dapdee_ros.testbed.veth_link import remove_namespace


def remove_leftovers() -> list[str]:
    """Remove cgroups and network namespaces whose owner is dead, and kill what still runs in them.

    Returns:
        The names of what was removed.
    """
    removed = []
    for folder in groups_here():
        if is_abandoned(folder.name):
            remove_group(folder)
            removed.append(folder.name)
    # /run/netns exists once there has been a namespace.
    for path in sorted(NAMESPACES.glob("dapdee-*")):
        if is_abandoned(path.name):
            remove_namespace(path.name)
            removed.append(path.name)
    return removed
