"""The frames on their way: which edge server each is sent to, and when another one is asked.

A plan names the server that finishes its frames and, where there are several, others that could. A
frame that its server does not answer, or refuses, is sent to another one, once, from the boundary
that was kept, if the answer can still be expected before the car would have to finish the frame
itself. A server that failed a frame is in doubt for a while: new frames go to another one first.
The first answer to a frame counts, whoever gives it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection

from dapdee_ros.core.frames import FramePlan, Server, Status, TailAnswer
from dapdee_ros.core.head_events import Send, Unused
from dapdee_ros.core.head_frame import Frame, SentFrames
from dapdee_ros.core.patience import SLACK_S, answer_within, fallback_time, hand_over_time
from dapdee_ros.core.window import SendWindow

DOUBT_S = 2.0
"""For so long a server that failed a frame is asked only if there is no other: by then the link
monitor knows whether it still answers, and the manager has another plan if not."""


class Servers:
    """The edge servers as one head sees them. Times in s, passed by the caller."""

    def __init__(self) -> None:
        self._windows: defaultdict[str, SendWindow] = defaultdict(SendWindow)
        self._doubted_until_s: dict[str, float] = {}

    def window(self, name: str) -> SendWindow:
        """How many frames may be on their way to a server."""
        return self._windows[name]

    def on_failure(self, now_s: float, name: str) -> None:
        """It did not answer a frame in time, or cannot finish frames."""
        self._doubted_until_s[name] = now_s + DOUBT_S

    def on_answer(self, name: str) -> None:
        """It finished a frame."""
        self._doubted_until_s.pop(name, None)

    def first(self, now_s: float, plan: FramePlan) -> Server:
        """The server to send a new frame to: the plan's, unless it is in doubt and a spare is not.

        Args:
            now_s: the time.
            plan: the frame's plan.
        """
        own, *_ = plan.servers
        if self._is_sound(now_s, own):
            return own
        return self.next(now_s, plan, (own.name,)) or own

    def next(self, now_s: float, plan: FramePlan, asked: Collection[str]) -> Server | None:
        """The server that is expected to answer first of those not asked yet; None if none is."""
        sound = [s for s in plan.servers if s.name not in asked and self._is_sound(now_s, s)]
        return min(sound, key=lambda s: (math.isnan(s.remote_s), s.remote_s), default=None)

    def _is_sound(self, now_s: float, server: Server) -> bool:
        return self._doubted_until_s.get(server.name, -math.inf) <= now_s


class Flights:
    """Frames that were sent and have not ended. Not for several threads at once.

    Attributes:
        servers: what is known of the servers that they were sent to.
    """

    def __init__(self, session: int) -> None:
        """Begin without any.

        Args:
            session: the head's number.
        """
        self._session = session
        self._frames: dict[int, Frame] = {}
        self._sent = SentFrames()
        self.servers = Servers()

    def __len__(self) -> int:
        return len(self._frames)

    def opens_s(self, now_s: float, plan: FramePlan, limit: int) -> float:
        """When the next frame of a plan may be sent; see ``SendWindow.opens_s``."""
        return self._opens_s(now_s, self.servers.first(now_s, plan).name, limit)

    def is_narrowed(self, now_s: float, plan: FramePlan, limit: int) -> bool:
        """Whether late answers allow fewer frames of a plan on their way than its limit."""
        server = self.servers.first(now_s, plan)
        return self.servers.window(server.name).is_narrowed(limit)

    def send(self, now_s: float, frame: Frame) -> Send:
        """Send a frame that was encoded to the first server."""
        return self._send(now_s, frame, self.servers.first(now_s, frame.program.plan))

    def waiting_for(self, answer: TailAnswer) -> Frame | None:
        """The frame that an answer may end: on its way, and its server was asked."""
        frame = self._frames.get(answer.number) if answer.session == self._session else None
        return frame if frame is not None and frame.was_sent_to(answer.server) else None

    def on_answered(self, now_s: float, frame: Frame, answer: TailAnswer, limit: int) -> None:
        """A frame ends with an answer."""
        self.servers.on_answer(answer.server)
        window = self.servers.window(answer.server)
        window.on_answered(limit)
        if answer.server == frame.server:
            took_s, wait_s = now_s - frame.sent_s, frame.fallback_at_s - frame.sent_s
            window.on_timely(took_s, wait_s, self._in_flight(answer.server), limit)
        del self._frames[frame.number]
        self._sent.forget(answer.server, frame.number)

    def on_refused(self, now_s: float, frame: Frame, answer: TailAnswer, why: str) -> None:
        """A frame's server does not finish it: somebody else has to, now."""
        if answer.status is not Status.BUSY:
            self.servers.on_failure(now_s, answer.server)
        if answer.server == frame.server:  # else another one is at work on it
            self.give_up(now_s, frame, why)

    def on_send_failed(self, now_s: float, number: int, why: str) -> None:
        """A frame did not leave the car."""
        if (frame := self._frames.get(number)) is not None:
            self.give_up(now_s, frame, why)

    def give_up(self, now_s: float, frame: Frame, why: str) -> None:
        """Wait for a frame's server no longer."""
        frame.fallback_at_s, frame.detail, frame.is_refused = now_s, why, True
        if frame.has_spare:
            frame.hand_over_at_s = now_s

    def hand_over(self, now_s: float) -> list[Send]:
        """Send frames whose servers have failed them to other servers, where there is time."""
        sends = []
        for frame in self._frames.values():
            if frame.hand_over_at_s > now_s:
                continue
            if not frame.is_refused:
                self._on_silence(now_s, frame)
            frame.hand_over_at_s, frame.has_spare = math.inf, False
            spare = self.servers.next(now_s, frame.program.plan, (frame.server,))
            if spare is None or not now_s + spare.remote_s + SLACK_S <= frame.last_answer_s:
                continue
            if self._opens_s(now_s, spare.name, frame.settings.max_in_flight) <= now_s:
                sends.append(self._send(now_s, frame, spare))
        return sends

    def take_due(self, now_s: float) -> Frame | None:
        """The frame that the car has to finish now, if there is one; it is no longer waited for."""
        due = min(self._frames.values(), key=lambda f: f.fallback_at_s, default=None)
        if due is None or due.fallback_at_s > now_s:
            return None
        if not due.is_refused:
            self._on_silence(now_s, due)
        del self._frames[due.number]
        return due

    @property
    def next_s(self) -> float:
        """When the next frame is handed over or finished on the car; infinity if none is."""
        times_s = (min(f.fallback_at_s, f.hand_over_at_s) for f in self._frames.values())
        return min(times_s, default=math.inf)

    def fall_back_by(self, at_s: float) -> int:
        """How many frames the car will have to finish before some time."""
        return sum(frame.fallback_at_s <= at_s for frame in self._frames.values())

    def drain(self) -> list[int]:
        """The numbers of all frames; none is waited for any more."""
        numbers = list(self._frames)
        self._frames.clear()
        return numbers

    def on_unused(
        self, now_s: float, answer: TailAnswer, cpu_wait_s: float, limit: int
    ) -> list[Unused]:
        """An answer ended no frame: its local record; see ``SentFrames.unused``."""
        found = self._sent.unused(answer, answer.session == self._session, cpu_wait_s)
        for unused in found:
            if answer.status is Status.OK:
                self.servers.window(answer.server).on_late(now_s, unused.sent_s, limit)
        return found

    def _opens_s(self, now_s: float, server: str, limit: int) -> float:
        return self.servers.window(server).opens_s(now_s, self._in_flight(server), limit)

    def _in_flight(self, server: str) -> int:
        return sum(frame.server == server for frame in self._frames.values())

    def _on_silence(self, now_s: float, frame: Frame) -> None:
        self.servers.on_failure(now_s, frame.server)
        who = f"server {frame.server}" if frame.program.plan.spares else "the edge"
        frame.detail = f"no answer from {who} in time"

    def _send(self, now_s: float, frame: Frame, to: Server) -> Send:
        plan = frame.program.plan
        frame.on_sent(now_s, to.name)
        frame.fallback_at_s = fallback_time(
            now_s,
            frame.done_by_s,
            to.remote_s,
            deepest_s=frame.deepest_s,
            quickest_s=frame.quickest_s,
        )
        if frame.earlier is None:
            spare = self.servers.next(now_s, plan, (to.name,))
            if spare is not None:
                frame.has_spare = True
                frame.hand_over_at_s = hand_over_time(
                    now_s, frame.last_answer_s, to.remote_s, spare.remote_s
                )
            if math.isfinite(frame.hand_over_at_s):
                frame.fallback_at_s = max(frame.fallback_at_s, frame.hand_over_at_s)
        self._frames[frame.number] = frame
        self.servers.window(to.name).on_sent(now_s)
        self._sent.remember(frame)
        return Send(
            frame.number,
            self._session,
            now_s,
            frame.sent_bytes,
            frame.program,
            frame.context,
            answer_within(frame.fallback_at_s - now_s, to.transfer_s),
            to.name,
            keep=frame.has_spare,
        )
