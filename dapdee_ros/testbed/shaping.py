"""A link's effect on packets, as kernel queue disciplines."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from dapdee_ros.testbed.enter import entering
from dapdee_ros.testbed.filler import command as fill
from dapdee_ros.testbed.filler import filler_bytes

DEVICE = "veth0"
MTU_BYTES = 576
"""Small packets: on a fast link, which has no filler, a token bucket passes the first one after a
pause instantly, where a radio takes its full time."""

DEAD_BPS = 8e3
"""Below this rate nothing passes at all."""

_FRAME_BYTES = MTU_BYTES + 14
# Size of the bucket in addition to one packet: timers are late by some tenths of a millisecond, and
# tokens added to a full bucket meanwhile are lost.
_TIMER_SLACK_S = 0.0005


class ShapingError(RuntimeError):
    """The kernel refused a link's configuration; the message says what and why."""


@dataclass(frozen=True)
class Impairment:
    """A link's impairments other than its rate, per direction.

    Attributes:
        delay_s: propagation delay in s.
        loss_ratio: share of the packets that are lost.
    """

    delay_s: float = 0.0
    loss_ratio: float = 0.0

    @property
    def is_none(self) -> bool:
        """Whether there are no impairments."""
        return not self.delay_s and not self.loss_ratio


def token_bucket(rate_bps: float, queue_bytes: int) -> str:
    """The arguments of the token bucket that emulates a link.

    Args:
        rate_bps: what passes, Ethernet and IP headers included, in bit/s; below ``DEAD_BPS``
            nothing does.
        queue_bytes: size of the queue.
    """
    if rate_bps < DEAD_BPS:
        # Packets larger than the bucket are dropped at once, and every packet is larger than this.
        # Queued packets stay queued.
        return f"tbf rate 8kbit burst 10 limit {queue_bytes}"
    return f"tbf rate {round(rate_bps)}bit burst {bucket_bytes(rate_bps)} limit {queue_bytes}"


def bucket_bytes(rate_bps: float) -> int:
    """Size of the bucket: a frame, plus what late timers would lose."""
    return _FRAME_BYTES + round(rate_bps * _TIMER_SLACK_S / 8)


def unshaped_bytes(rate_bps: float) -> int:
    """What an idle link passes instantly: a full bucket, or nothing with a filler."""
    return filler_bytes(rate_bps) or bucket_bytes(rate_bps)


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
        tc(netns, f"qdisc replace dev {DEVICE} parent 1:1 handle 10: {words}")
    except ShapingError as error:
        raise ShapingError(
            "delay and loss need the queue discipline netem, which this kernel does not have or "
            f"refuses ({error}); omit them, or use dapdee demo, whose link emulator has both"
        ) from error


def tc(netns: str, words: str) -> str:
    """Run ``tc`` in a namespace.

    Raises:
        ShapingError: with its output, if it failed.
    """
    done = subprocess.run(["tc", "-n", netns, *words.split()], capture_output=True, text=True)
    if done.returncode != 0:
        raise ShapingError(f"tc {words}: {done.stderr.strip()}")
    return done.stdout


class RateControl:
    """Changes the rate of one end of the link while it runs.

    One ``tc`` process reads the changes one after the other: starting one per change would take
    longer than the time between two changes of a trace. Another process keeps a slow link busy.
    """

    def __init__(self, netns: str, rate_bps: float, queue_bytes: int, *, filled: bool) -> None:
        """Create the token bucket, with its initial rate.

        Args:
            netns: the namespace.
            rate_bps: its rate, in bit/s.
            queue_bytes: size of the queue.
            filled: keep the link busy while it is slow (see ``filler``). Not with an impairment,
                whose queue knows no unimportant frames.
        """
        self._netns = netns
        self._queue_bytes = queue_bytes
        self._filled = filled
        bucket = token_bucket(rate_bps, queue_bytes)
        tc(netns, f"qdisc replace dev {DEVICE} root handle 1: {bucket}")
        if filled:
            # Of its three queues the filler's is the last.
            tc(netns, f"qdisc add dev {DEVICE} parent 1:1 handle 10: pfifo_fast")
        self._filler = self._start(fill(DEVICE), subprocess.PIPE)
        self._tc = self._start(["tc", "-batch", "-"], subprocess.DEVNULL)
        self._fill(rate_bps)

    def change(self, rate_bps: float) -> None:
        """Set another rate; queued packets are kept."""
        bucket = token_bucket(rate_bps, self._queue_bytes)
        self._tell(self._tc, f"qdisc change dev {DEVICE} root handle 1: {bucket}")
        self._fill(rate_bps)

    def carried_bytes(self) -> int:
        """Bytes that this end has sent over the link, headers included, without filler."""
        self._tell(self._filler, "?")
        assert self._filler.stdout is not None
        return max(0, int(self._filler.stdout.readline() or 0))

    def close(self) -> None:
        """End the processes; raises ShapingError if one had failed."""
        filling = self._filler.poll() is None
        self._filler.kill()
        _, why = self._filler.communicate()
        if self._tc.poll() is None:
            try:
                _, said = self._tc.communicate(timeout=5.0)
            except subprocess.TimeoutExpired:
                self._tc.kill()
                _, said = self._tc.communicate()
            if self._tc.returncode != 0:
                raise ShapingError(f"tc in {self._netns}: {said.strip()}")
        if not filling:
            raise ShapingError(f"nothing kept the link of {self._netns} busy: {why.strip()}")

    def _start(self, command: Sequence[str], stdout: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            entering(command, netns=self._netns),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _fill(self, rate_bps: float) -> None:
        if self._filled:
            self._tell(self._filler, str(0 if rate_bps < DEAD_BPS else filler_bytes(rate_bps)))

    def _tell(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
        except (OSError, ValueError) as error:
            process.wait(5.0)
            assert process.stderr is not None
            said = process.stderr.read().strip()
            raise ShapingError(f"what shapes {self._netns} ended: {said}") from error
