"""The edge's side: check a head's tensors, finish the frame, answer; one inference thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dapdee_ros.codecs import CodecError, decode
from dapdee_ros.codecs.camera_file import CAMERA
from dapdee_ros.codecs.wire import MOST_TENSORS
from dapdee_ros.core.fair_queue import QueueBounds
from dapdee_ros.core.frames import HeadFrame, Status, TailAnswer
from dapdee_ros.core.programs import TailProgram
from dapdee_ros.core.tail import TailCore
from dapdee_ros.core.tail_events import (
    BatchEnded,
    BatchesReady,
    PartReady,
    PrepareBatches,
    RunTail,
    SendAnswer,
    SharesSet,
    TailComputed,
    TailEvent,
    TailFailed,
    TailStopped,
    TailUnready,
    TensorsArrived,
)
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.runtime.passed_on import passed_on_input
from dapdee_ros.runtime.tail_compiler import Part, TailCompiler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapdee_ros.runtime.split_network import SplitNetwork

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
    """Check everything about a frame against this side's model, then decode it.

    Returns:
        What to compute, and the decoded tensors by name.

    Raises:
        FrameRefused: if anything does not match; nothing large was allocated then.
    """
    program = program_of(network, frame)
    try:
        if frame.codec == CAMERA:
            wanted = network.card.input_spec
            return program, passed_on_input(frame.specs, frame.data, program.expected, wanted)
        sets = network.sets
        return program, decode(frame.specs, frame.data, frame.codec, program.expected, sets=sets)
    except CodecError as error:
        raise FrameRefused(Status.BAD_TENSOR, str(error)) from error


def program_of(network: SplitNetwork, frame: HeadFrame) -> TailProgram:
    """What a frame has computed here, whatever its data hold.

    Raises:
        FrameRefused: if it is for another model, or its tensors do not fit this one.
    """
    card = network.card
    if frame.model_id != card.model_id:
        raise FrameRefused(
            Status.WRONG_MODEL,
            f"this edge runs model {card.model_id[:16]} ({card.name}), the frame is for "
            f"{frame.model_id[:16]}",
        )
    if len(frame.specs) > MOST_TENSORS:
        reason = f"{len(frame.specs)} tensors received, at most {MOST_TENSORS} allowed"
        raise FrameRefused(Status.BAD_TENSOR, reason)
    try:
        return network.tail_program(frame.exit_number, _names(frame))
    except GraphError as error:
        raise FrameRefused(Status.BAD_TENSOR, str(error)) from error


def _names(frame: HeadFrame) -> frozenset[str]:
    return frozenset(spec.name for spec in frame.specs)


def _part(network: SplitNetwork, frame: HeadFrame) -> Part:
    """What has to be compiled for a frame; fixed codecs need nothing."""
    decoder = frame.codec if frame.codec in network.sets else ""
    return Part(frame.exit_number, _names(frame), decoder)


def _failure(frame: HeadFrame, error: Exception) -> TailFailed:
    """Why a frame was not computed; to be called while the error is handled.

    Whatever happens to one frame, the edge continues; the head is told and falls back.
    """
    if isinstance(error, FrameRefused):
        return TailFailed(error.status, str(error))
    log.exception("frame %d could not be computed", frame.number)
    return TailFailed(Status.ERROR, f"{type(error).__name__}: {error}")


class _NotReady(Exception):
    """A frame's part has to be compiled first."""


class TailRuntime:
    """Runs a ``TailCore``: one inference thread computes, any thread may submit frames.

    Attributes:
        rejections: what was refused and why, except frames refused as busy.
    """

    def __init__(
        self,
        network: SplitNetwork,
        answer: Callable[[TailAnswer], object],
        *,
        bounds: QueueBounds | None = None,
        shares: Mapping[str, float] | None = None,
        most_batch: int = 1,
        rejections: Rejections | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; ``start`` starts the thread.

        Args:
            network: the model that is run.
            answer: receives every answer, on the inference thread or the submitting one.
            bounds: how many frames may wait; by default the newest of each car.
            shares: the cars' shares of the edge's time, relative to each other; not named: 1.
            most_batch: most frames that are computed together, where that pays; 1: none.
            rejections: counts what is refused.
            clock: monotonic seconds.
        """
        self._network = network
        self._answer = answer
        self._clock = clock
        self._core = TailCore(bounds, shares, most_batch)
        self._condition = threading.Condition()
        self._job: RunTail | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._compiler = TailCompiler(
            network,
            lambda part: self._tell(PartReady(part)),
            lambda part, possible: self._tell(BatchesReady(part, possible)),
        )
        self.rejections = rejections or Rejections()

    @property
    def queue_depth(self) -> int:
        """Frames waiting or being computed."""
        with self._condition:
            return self._core.queue_depth

    @property
    def computed(self) -> int:
        """Frames answered with a class."""
        return self._core.computed

    @property
    def runs(self) -> int:
        """Runs of the network that they took: fewer where frames were computed together."""
        return self._core.runs

    @property
    def refused(self) -> dict[Status, int]:
        """Frames answered with a status other than ok, by status."""
        with self._condition:
            return dict(self._core.refused)

    def set_shares(self, shares: Mapping[str, float]) -> None:
        """Change the cars' shares from the next frame on; from any thread.

        Raises:
            ShareError: if one makes no sense; then all stay as they are.
        """
        self._tell(SharesSet(shares))

    def start(self) -> None:
        """Start the inference thread."""
        self._thread = threading.Thread(target=self._loop, name="tail", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the current frame, answer waiting ones as busy, end the thread."""
        self._tell(TailStopped())
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread:
            self._thread.join()
        self._compiler.stop()

    def expect(self, frame: HeadFrame) -> None:
        """Frames of the same exit and tensors are about to come: compile what they need.

        Returns at once. May be called from any thread.
        """
        try:
            program = program_of(self._network, frame)
        except FrameRefused as refused:
            self.rejections.count(self._clock(), "announced plan", str(refused))
        else:
            self._compiler.expect(_part(self._network, frame), program)

    def submit(self, frame: HeadFrame) -> None:
        """Submit a frame; returns at once. May be called from any thread."""
        self._tell(
            TensorsArrived(
                frame.number,
                frame.session,
                frame.exit_number,
                frame.sent_s,
                len(frame.data),
                frame.car_id,
                _part(self._network, frame) if len(frame.specs) <= MOST_TENSORS else None,
                frame,
                frame.context,
                frame.answer_within_s,
            )
        )

    def _tell(self, event: TailEvent) -> None:
        with self._condition:
            actions = self._core.handle(self._clock(), event)
            for action in actions:
                if isinstance(action, RunTail):
                    self._job = action
                    self._condition.notify_all()
        for action in actions:
            if isinstance(action, SendAnswer):
                self._note_refusal(action.answer)
                self._answer(action.answer)
            elif isinstance(action, PrepareBatches):
                frame = action.frame.payload
                part = _part(self._network, frame)
                self._compiler.prepare_batches(part, program_of(self._network, frame))

    def _note_refusal(self, answer: TailAnswer) -> None:
        status = answer.status
        if status in (Status.OK, Status.BUSY):
            return
        name = status.name.lower()
        if self.rejections.count(self._clock(), f"frame ({name})", answer.detail):
            log.warning("frame %d refused, %s: %s", answer.number, name, answer.detail)

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._stopping or self._job is not None)
                if self._job is None:
                    return
                frames = [frame.payload for frame in self._job.frames]
                self._job = None
            frame = frames[0]
            event: TailEvent
            try:
                event = self._compute(frame) if len(frames) == 1 else self._compute_batch(frames)
            except _NotReady:
                event = TailUnready()
            except Exception as error:
                event = _failure(frame, error)
            self._tell(event)
            if isinstance(event, TailUnready):
                # Only now: what is compiled must not be told before the core knows of it.
                part = _part(self._network, frame)
                self._compiler.need(part, program_of(self._network, frame))

    def _compute_batch(self, frames: Sequence[HeadFrame]) -> BatchEnded:
        """Compute frames of one part together, those that pass their checks."""
        network = self._network
        began_s = self._clock()
        outcomes: dict[int, TailComputed | TailFailed] = {}
        checked: dict[int, tuple[TailProgram, dict[str, NDArray[Any]]]] = {}
        for place, frame in enumerate(frames):
            try:
                checked[place] = check_frame(network, frame)
            except Exception as error:
                outcomes[place] = _failure(frame, error)
        if checked:
            decoded_s = self._clock()
            (program, _), *_ = checked.values()
            try:
                given = [arrays for _, arrays in checked.values()]
                computed = network.engine.run_batch(given, program.outputs)
            except Exception:
                log.exception("%d frames could not be computed together", len(checked))
                self._tell(BatchesReady(_part(network, frames[0]), False))
                return BatchEnded([self._outcome(frame) for frame in frames])
            spent_s = (self._clock() - decoded_s) / len(checked)
            for place, outputs in zip(checked, computed, strict=True):
                try:
                    answer = network.decode(outputs, frames[place].exit_number)
                    outcomes[place] = TailComputed(answer, spent_s, program.profiled_s)
                except Exception as error:
                    outcomes[place] = _failure(frames[place], error)
        took_s = self._clock() - began_s
        return BatchEnded([outcomes[place] for place in range(len(frames))], took_s)

    def _outcome(self, frame: HeadFrame) -> TailComputed | TailFailed:
        """Compute one frame, whatever happens."""
        try:
            return self._compute(frame)
        except Exception as error:
            return _failure(frame, error)

    def _compute(self, frame: HeadFrame) -> TailComputed:
        network, began_s = self._network, self._clock()
        if frame.codec in network.sets:
            # Before it is decoded, which would compile the decoder on this thread.
            self._check_ready(frame, program_of(network, frame))
        program, arrays = check_frame(network, frame)
        self._check_ready(frame, program)
        decoded_s = self._clock()
        outputs = network.engine.run(arrays, program.outputs)
        spent_s = self._clock() - decoded_s
        answer = network.decode(outputs, frame.exit_number)
        return TailComputed(answer, spent_s, program.profiled_s, self._clock() - began_s)

    def _check_ready(self, frame: HeadFrame, program: TailProgram) -> None:
        """Raise _NotReady if something has to be compiled for a frame first, and can be."""
        ready = self._network.tail_is_ready(program, frame.codec)
        if not ready and _part(self._network, frame) not in self._compiler.failed:
            raise _NotReady
