"""Keep an idle link busy, so that a token bucket accumulates no tokens.

After a pause a token bucket passes a packet at once; a radio takes the packet's full time on the
air. With low-priority filler always queued behind real traffic, the bucket stays empty, and a
packet waits for as many tokens as it has bytes. Filling needs no clock: the socket accepts the next
frame when the kernel has sent one of the last ones.

Started by path as ``python -S filler.py DEVICE``, so it only imports the standard library. It reads
lines: a number sets the size of filler frames in bytes, 0 for none; ``?`` is answered with the
bytes that the device has sent apart from filler, to within a few frames.
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
# Above this rate the packet that passes early gains no more than a timer's lateness, and frames of
# a millisecond would be larger than packets.
_FAST_BPS = 2.5e6
_LAZIEST = 1  # TC_PRIO_FILLER of <linux/pkt_sched.h>
_UNUSED_PROTOCOL = 0x88B5  # local experiments (IEEE 802); has no receiver
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
        # The kernel's minimum: a handful of frames.
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        link.setblocking(False)
        _fill(link, sys.stdin.fileno())


def _fill(link: socket.socket, orders: int) -> None:
    # To no address: the other end's kernel discards it.
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
                # The queue is full, or the link is down and drops everything.
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
