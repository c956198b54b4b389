"""Fast DDS: participants of one context with sockets only on the loopback interface.

ROS's LOCALHOST range only controls which peers a node searches for. A peer that lists this
machine's address as a static peer is accepted all the same. So with Fast DDS the usual context of a
sealed process gets a profile whose transport only uses the loopback interface;
``src/participant_profile.cpp`` explains why that takes a few lines of C++.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import quoteattr

_LIBRARY = "libdapdee_ros__participant_profile.so"
_PROFILES = "fastdds_inner.xml"


def installed_config(name: str) -> Path | None:
    """A file of the package's installed folder config."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        path = Path(prefix) / "share" / "dapdee_ros" / "config" / name
        if prefix and path.is_file():
            return path
    return None


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The library, with our profiles loaded; None if it is not available."""
    from rclpy.utilities import get_rmw_implementation_identifier

    profiles = installed_config(_PROFILES)
    if not get_rmw_implementation_identifier().startswith("rmw_fastrtps") or profiles is None:
        return None
    try:
        library = ctypes.CDLL(str(profiles.parents[3] / "lib" / _LIBRARY))
    except OSError:
        return None
    return library if library.dapdee_load_profiles(str(profiles).encode()) == 0 else None


def use_loopback_only(*, large_messages: bool) -> bool:
    """Create this process's participants with the loopback interface only, from now on.

    Args:
        large_messages: with a shared memory segment as in ``config/fastdds.xml``.

    Returns:
        Whether they will be: not without Fast DDS, or if the package was built without it.
    """
    library = _library()
    name = "dapdee_ros_inner_large" if large_messages else "dapdee_ros_inner"
    if os.environ.get("FASTDDS_BUILTIN_TRANSPORTS"):
        name = "dapdee_ros_inner_udp"  # the user may have disabled shared memory
    return library is not None and library.dapdee_use_profile(name.encode()) == 0


_READER = """\
<?xml version="1.0" encoding="UTF-8" ?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <profiles>
    <data_reader profile_name={topic}>
      <unicastLocatorList>
        <locator>
          <udpv4>
            <port>{port}</port>
          </udpv4>
        </locator>
      </unicastLocatorList>
    </data_reader>
  </profiles>
</dds>
"""

_FIRST_PORT, _PORTS_PER_DOMAIN = 7400, 250
"""RTPS 2.5, 9.6.2.3: a domain's ports. Its participants take them from the lowest on."""

_LEAST_OFFSET = 100
"""Below it, a domain's ports are left to its first 45 participants."""

_port_leases: list[socket.socket] = []


def lease_port(domain_id: int) -> int | None:
    """A UDP port for this process only, from the upper end of a domain's range.

    Fast DDS does not report if a reader's port cannot be opened: the reader is matched and receives
    nothing. Nor can the choice be left to Fast DDS: it takes the port above the participant's
    discovery port, which is the participant's data port only if no two processes of a domain
    started at the same time and no other socket had taken it.

    Returns:
        The port, reserved while this process runs; None if all are in use.
    """
    first = _FIRST_PORT + _PORTS_PER_DOMAIN * domain_id
    last = min(first + _PORTS_PER_DOMAIN - 1, 65535)
    for port in range(last, first + _LEAST_OFFSET - 1, -1):
        # An abstract socket name is unique in a network namespace, like a port.
        lease = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lease.bind(f"\0dapdee_ros/port/{port}")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", port))
        except OSError:
            lease.close()
            continue
        _port_leases.append(lease)
        return port
    return None


def read_over_sockets(topic: str, domain_id: int) -> bool:
    """Have further subscriptions of this process to a topic read only from a socket.

    rmw_fastrtps creates a reader with the profile named like its topic. A reader that announces no
    shared memory gets everything over UDP, limited by its own socket buffer and not by the writer's
    shared memory segment. The socket is used only by this topic, so nothing else is delayed by its
    images or takes their space.

    Args:
        topic: the full name.
        domain_id: of the subscriptions' context.

    Returns:
        Whether they will: not without Fast DDS, if the package was built without it, or if the
        domain has no free port.
    """
    library = _library()
    if library is None:
        return False
    port = lease_port(domain_id)
    if port is None:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8") as file:
        file.write(_READER.format(topic=quoteattr(topic), port=port))
        file.flush()
        return bool(library.dapdee_load_profiles(file.name.encode()) == 0)


@contextlib.contextmanager
def default_profile(*, inside_large: bool) -> Iterator[None]:
    """Temporarily create participants as without a key."""
    library = _library()
    if library is None:
        yield
        return
    library.dapdee_use_profile(None)
    try:
        yield
    finally:
        use_loopback_only(large_messages=inside_large)
