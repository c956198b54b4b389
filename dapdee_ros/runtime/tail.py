"""The edge's side: check a head's tensors, finish the frame, answer; one inference thread."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dapdee_ros.codec import CodecError, decode
from dapdee_ros.codec.wire import MOST_TENSORS
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.graph.dag import GraphError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapdee_ros.runtime.split_network import SplitNetwork, TailProgram

log = logging.getLogger(__name__)


class FrameRefused(ValueError):
    """A frame that is not computed; the message says why.

    Attributes:
        status: what the answer says.
    """

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def check_frame(
    network: SplitNetwork, frame: HeadFrame
) -> tuple[TailProgram, dict[str, NDArray[Any]]]:
    """Check everything about a stranger's frame against the own model, then decode it.

    Returns:
        What to compute, and the decoded tensors by name.

    Raises:
        FrameRefused: if anything does not fit; nothing large was allocated then.
    """
    card = network.model.card
    if frame.model_id != card.model_id:
        raise FrameRefused(
            Status.WRONG_MODEL,
            f"this edge runs model {card.model_id[:16]} ({card.name}), the frame is for "
            f"{frame.model_id[:16]}",
        )
    try:
        if len(frame.specs) > MOST_TENSORS:
            raise CodecError(f"{len(frame.specs)} tensors came, at most {MOST_TENSORS} may")
        program = network.tail_program(
            frame.exit_number, frozenset(spec.name for spec in frame.specs)
        )
        return program, decode(frame.specs, frame.data, frame.codec, program.expected)
    except (GraphError, CodecError) as error:
        raise FrameRefused(Status.BAD_TENSOR, str(error)) from error


class TailRuntime:
    """Finishes frames that a head began.

    A one-slot mailbox stands before the inference thread: the newest frame wins, and the one it
    displaces is answered as busy at once, so that its head need not wait for nothing.

    Attributes:
        computed: frames answered with a class.
        refused: frames answered with a status other than ok, by status.
        rejections: why, but for those that only came at a busy time.
    """

    def __init__(
        self,
        network: SplitNetwork,
        answer: Callable[[TailAnswer], object],
        *,
        rejections: Rejections | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``start`` starts the thread.

        Args:
            network: the model that is run.
            answer: receives every answer, on the inference thread or the submitting one.
            rejections: where to count what is refused.
            clock: monotonic seconds.
        """
        self._network = network
        self._answer = answer
        self._clock = clock
        self._condition = threading.Condition()
        self._waiting: tuple[HeadFrame, float] | None = None
        self._stopping = False
        self._busy = False
        self._thread: threading.Thread | None = None
        self.computed = 0
        self.refused: dict[Status, int] = dict.fromkeys(list(Status)[1:], 0)
        self.rejections = rejections or Rejections()

    @property
    def queue_depth(self) -> int:
        """Frames waiting or in work."""
        with self._condition:
            return int(self._busy) + int(self._waiting is not None)

    def start(self) -> None:
        """Start the inference thread."""
        self._thread = threading.Thread(target=self._loop, name="tail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the frame in work, answer the waiting one as busy, end the thread."""
        with self._condition:
            self._stopping = True
            waiting, self._waiting = self._waiting, None
            self._condition.notify_all()
        if waiting:
            self._refuse(*waiting, Status.BUSY, "the edge is shutting down")
        if self._thread:
            self._thread.join()

    def submit(self, frame: HeadFrame) -> None:
        """Hand over a frame; returns at once. May be called from any thread."""
        now = self._clock()
        with self._condition:
            if self._stopping:
                replaced: tuple[HeadFrame, float] | None = (frame, now)
            else:
                replaced, self._waiting = self._waiting, (frame, now)
                self._condition.notify_all()
        if replaced:
            self._refuse(*replaced, Status.BUSY, "a newer frame took its place on the edge")

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._busy = False
                self._condition.wait_for(lambda: self._stopping or self._waiting is not None)
                if self._waiting is None:
                    return
                frame, received_s = self._waiting
                self._waiting = None
                self._busy = True
            try:
                self._compute(frame, received_s)
            except Exception as error:
                # The edge serves on whatever one frame does; the head hears of it and falls back.
                log.exception("frame %d could not be computed", frame.number)
                self._refuse(frame, received_s, Status.ERROR, f"{type(error).__name__}: {error}")

    def _compute(self, frame: HeadFrame, received_s: float) -> None:
        import torch

        started_s = self._clock()
        network = self._network
        try:
            program, arrays = check_frame(network, frame)
        except FrameRefused as refused:
            self._refuse(frame, received_s, refused.status, str(refused))
            return
        given = {name: torch.from_numpy(values) for name, values in arrays.items()}
        decoded_s = self._clock()
        logits = network.runner.run(given, [program.sink])[program.sink]
        ended_s = self._clock()
        classification = network.classify(logits, frame.exit_number)
        slowdown = math.nan
        if program.profiled_s > 0:
            slowdown = (ended_s - decoded_s) / program.profiled_s
        self.computed += 1
        now = self._clock()
        self._answer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=Status.OK,
                detail="",
                classification=classification,
                exit_number=frame.exit_number,
                tail_s=now - started_s,
                residence_s=now - received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=len(frame.data),
                edge_slowdown=slowdown,
                context=frame.context,
            )
        )

    def _refuse(self, frame: HeadFrame, received_s: float, status: Status, detail: str) -> None:
        detail = shortened(detail)
        with self._condition:
            self.refused[status] += 1
        if status is not Status.BUSY:
            kind = f"frame ({status.name.lower()})"
            if self.rejections.count(self._clock(), kind, detail):
                log.warning("frame %d refused, %s: %s", frame.number, status.name.lower(), detail)
        self._answer(
            TailAnswer(
                number=frame.number,
                session=frame.session,
                status=status,
                detail=detail,
                classification=None,
                exit_number=frame.exit_number,
                tail_s=0.0,
                residence_s=self._clock() - received_s,
                sent_echo_s=frame.sent_s,
                received_bytes=len(frame.data),
                context=frame.context,
            )
        )
