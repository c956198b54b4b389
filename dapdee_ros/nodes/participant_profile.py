"""Fast DDS: participants of one context with sockets on the loopback interface alone.

ROS's LOCALHOST range only says whom a node looks for. Who names this machine's address as a static
peer is found, and in. So with Fast DDS the usual context of a sealed process is made with a profile
whose transport has the loopback interface only; ``src/participant_profile.cpp`` says why that takes
a few lines of C++.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
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
    """The library, with our profiles loaded; None where it cannot serve."""
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
    """Make this process's participants with the loopback interface only, from now on.

    Args:
        large_messages: with a shared memory segment as in ``config/fastdds.xml``.

    Returns:
        Whether they will be: not without Fast DDS, or where the package was built without it.
    """
    library = _library()
    name = "dapdee_ros_inner_large" if large_messages else "dapdee_ros_inner"
    if os.environ.get("FASTDDS_BUILTIN_TRANSPORTS"):
        name = "dapdee_ros_inner_udp"  # whoever chooses the transports may have no shared memory
    return library is not None and library.dapdee_use_profile(name.encode()) == 0


_READER = """\
<?xml version="1.0" encoding="UTF-8" ?>
<dds xmlns="http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles">
  <profiles>
    <data_reader profile_name={topic}>
      <unicastLocatorList>
        <locator>
          <udpv4/>
        </locator>
      </unicastLocatorList>
    </data_reader>
  </profiles>
</dds>
"""


def read_over_sockets(topic: str) -> bool:
    """Have further subscriptions of this process to a topic read it from sockets alone.

    rmw_fastrtps makes a reader by the profile that is named as its topic. One that announces no
    shared memory is sent everything over UDP, which holds as much as the reader's own socket does,
    and not only what the writer's segment of shared memory has room for.

    Args:
        topic: the full name.

    Returns:
        Whether they will: not without Fast DDS, or where the package was built without it.
    """
    library = _library()
    if library is None:
        return False
    with tempfile.NamedTemporaryFile("w", suffix=".xml", encoding="utf-8") as file:
        file.write(_READER.format(topic=quoteattr(topic)))
        file.flush()
        return bool(library.dapdee_load_profiles(file.name.encode()) == 0)


@contextlib.contextmanager
def default_profile(*, inside_large: bool) -> Iterator[None]:
    """Make participants as without a key for a moment."""
    library = _library()
    if library is None:
        yield
        return
    library.dapdee_use_profile(None)
    try:
        yield
    finally:
        use_loopback_only(large_messages=inside_large)
