"""What a link does to packets, as queue disciplines of the kernel."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import IO

from dapdee_ros.testbed.enter import entering

DEVICE = "veth0"
MTU_BYTES = 576
"""Small packets: a token bucket passes the first one after a pause for nothing, where a radio takes
its full time. So what a message takes is right to within one of these."""

DEAD_BPS = 8e3
"""Below this rate nothing passes at all."""

_FRAME_BYTES = MTU_BYTES + 14
# What the bucket holds beside one packet: timers are late by some tenths of a millisecond, and what
# flows into a full bucket meanwhile is lost.
_TIMER_SLACK_S = 0.0005


class ShapingError(RuntimeError):
    """The kernel does not take what a link shall do; the message says what and why."""


@dataclass(frozen=True)
class Impairment:
    """What a link does beside being slow; each direction by itself.

    Attributes:
        delay_s: propagation delay in s.
        loss_ratio: share of the packets that are lost.
    """

    delay_s: float = 0.0
    loss_ratio: float = 0.0

    @property
    def is_none(self) -> bool:
        """Whether nothing of the kind is asked for."""
        return not self.delay_s and not self.loss_ratio


def token_bucket(rate_bps: float, queue_bytes: int) -> str:
    """The arguments of the token bucket that plays a link.

    Args:
        rate_bps: what passes, Ethernet and IP headers included, in bit/s; below ``DEAD_BPS``
            nothing does.
        queue_bytes: what may wait.
    """
    if rate_bps < DEAD_BPS:
        # What is larger than the bucket is dropped at once, and any packet is larger than this.
        # What waits already goes on waiting.
        return f"tbf rate 8kbit burst 10 limit {queue_bytes}"
    return f"tbf rate {round(rate_bps)}bit burst {bucket_bytes(rate_bps)} limit {queue_bytes}"


def bucket_bytes(rate_bps: float) -> int:
    """What an idle link lets pass at once: a frame, and what late timers would lose."""
    return _FRAME_BYTES + round(rate_bps * _TIMER_SLACK_S / 8)


def impair(netns: str, impairment: Impairment, queue_bytes: int) -> None:
    """Add delay and loss behind the token bucket of a namespace's end of the link.

    Raises:
        ShapingError: if this kernel has no netem.
    """
    queue_packets = max(1000, queue_bytes // 100)
    words = f"netem limit {queue_packets}"
    if impairment.delay_s:
        words += f" delay {round(1e6 * impairment.delay_s)}us"
    if impairment.loss_ratio:
        words += f" loss {100 * impairment.loss_ratio:g}%"
    try:
        tc(netns, f"qdisc add dev {DEVICE} parent 1:1 handle 10: {words}")
    except ShapingError as error:
        raise ShapingError(
            "delay and loss need the queue discipline netem, which this kernel does not have or "
            f"refuses ({error}); leave them away, or use dapdee demo, whose link emulator has both"
        ) from error


def tc(netns: str, words: str) -> str:
    """Run ``tc`` in a namespace.

    Raises:
        ShapingError: with what it said, if it failed.
    """
    done = subprocess.run(["tc", "-n", netns, *words.split()], capture_output=True, text=True)
    if done.returncode != 0:
        raise ShapingError(f"tc {words}: {done.stderr.strip()}")
    return done.stdout


class RateControl:
    """Changes the rate of one end of the link while it runs.

    One ``tc`` process reads the changes one after the other: starting one for each would take more
    time than there is between two changes of a trace.
    """

    def __init__(self, netns: str, rate_bps: float, queue_bytes: int) -> None:
        """Put the token bucket there, with its first rate."""
        self._netns = netns
        self._queue_bytes = queue_bytes
        bucket = token_bucket(rate_bps, queue_bytes)
        tc(netns, f"qdisc replace dev {DEVICE} root handle 1: {bucket}")
        self._tc = subprocess.Popen(
            entering(["tc", "-batch", "-"], netns=netns),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def change(self, rate_bps: float) -> None:
        """Set another rate; what waits is kept."""
        bucket = token_bucket(rate_bps, self._queue_bytes)
        try:
            _stdin(self._tc).write(f"qdisc change dev {DEVICE} root handle 1: {bucket}\n")
            _stdin(self._tc).flush()
        except (OSError, ValueError) as error:
            raise ShapingError(self._failure()) from error

    def close(self) -> None:
        """End the process; raises ShapingError if it had refused a change."""
        if self._tc.poll() is None:
            try:
                _, said = self._tc.communicate(timeout=5.0)
            except subprocess.TimeoutExpired:
                self._tc.kill()
                _, said = self._tc.communicate()
            if self._tc.returncode != 0:
                raise ShapingError(f"tc in {self._netns}: {said.strip()}")

    def _failure(self) -> str:
        self._tc.wait(5.0)
        assert self._tc.stderr is not None
        return f"tc in {self._netns} ended: {self._tc.stderr.read().strip()}"


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdin is not None
    return process.stdin
