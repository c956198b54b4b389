"""Keep an idle link busy, so that a token bucket saves up nothing to pass the next packet with.

A token bucket passes what comes after a pause at once; a radio takes the packet's full time on the
air. With something unimportant always waiting behind what matters, the bucket stays empty, and a
packet waits for as many tokens as it has bytes. Filling needs no clock: the socket takes the next
frame when the kernel has let one of the last ones go.

Started by path as ``python -S filler.py DEVICE``, so it imports nothing beside the standard
library. It reads lines: a number is the size of a frame from now on in bytes, 0 for none; ``?`` is
answered with the bytes that the device has sent beside such frames, to within a few of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import time
from pathlib import Path

_LEAST_BYTES = 60
_MOST_S = 0.001
# Above this rate the packet that passes for nothing takes no longer than a timer is late, and
# frames of a millisecond would be larger than packets.
_FAST_BPS = 2.5e6
_LAZIEST = 1  # TC_PRIO_FILLER of <linux/pkt_sched.h>
_UNUSED_PROTOCOL = 0x88B5  # local experiments (IEEE 802); nobody listens
_BACK_OFF_S = 0.01


def filler_bytes(rate_bps: float) -> int:
    """Size of the frames that keep a link of that rate busy, Ethernet header included; 0: none."""
    if not 0 < rate_bps < _FAST_BPS:
        return 0
    return max(_LEAST_BYTES, round(rate_bps * _MOST_S / 8))


def command(device: str) -> list[str]:
    """The command line that fills a device of the namespace in which it runs."""
    return [sys.executable, "-S", "-E", str(Path(__file__).resolve()), device]


def main() -> None:
    """Fill until standard input ends."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((sys.argv[1], 0))
        link.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _LAZIEST)
        # The least that the kernel allows: a handful of frames.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        link.setblocking(False)
        _fill(link, sys.stdin.fileno())


def _fill(link: socket.socket, orders: int) -> None:
    # To nobody: what arrives is thrown away by the other end's kernel.
    header = bytes(12) + _UNUSED_PROTOCOL.to_bytes(2, "big")
    frame = b""
    sent = 0
    while True:
        ready, free, _ = select.select([orders], [link] if frame else [], [])
        if ready:
            lines = os.read(orders, 4096)
            if not lines:
                return
            for line in lines.decode("ascii").split():
                if line == "?":
                    print(_carried_bytes(sys.argv[1]) - sent, flush=True)
                else:
                    frame = (header + bytes(max(0, int(line) - len(header)))) if int(line) else b""
        elif free:
            try:
                sent += link.send(frame)
            except OSError as error:
                # Full, or a dead link that drops whatever comes.
                if error.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.ENETDOWN):
                    raise
                time.sleep(_BACK_OFF_S)


def _carried_bytes(device: str) -> int:
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == device:
            return int(counters.split()[8])
    raise OSError(f"there is no device {device}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
