"""Check frames that heads began, and finish them: what is done wherever an edge's network runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dapdee_ros.codecs import CodecError, decode
from dapdee_ros.codecs.camera_file import CAMERA
from dapdee_ros.codecs.wire import MOST_TENSORS
from dapdee_ros.core.frames import HeadFrame, Status
from dapdee_ros.core.programs import TailProgram
from dapdee_ros.core.tail_events import BatchEnded, TailComputed, TailFailed
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.runtime.passed_on import passed_on_input
from dapdee_ros.runtime.tail_compiler import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dapdee_ros.runtime.split_network import ModelPrograms, SplitNetwork

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


def program_of(network: ModelPrograms, frame: HeadFrame) -> TailProgram:
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


def part_of(network: ModelPrograms, frame: HeadFrame) -> Part:
    """What has to be compiled for a frame; fixed codecs need nothing."""
    decoder = frame.codec if frame.codec in network.points else ""
    return Part(frame.exit_number, _names(frame), decoder)


def failure(frame: HeadFrame, error: Exception) -> TailFailed:
    """Why a frame was not computed; to be called while the error is handled.

    Whatever happens to one frame, the edge continues; the head is told and falls back.
    """
    if isinstance(error, FrameRefused):
        return TailFailed(error.status, str(error))
    log.exception("frame %d could not be computed", frame.number)
    return TailFailed(Status.ERROR, f"{type(error).__name__}: {error}")


def finish_frame(
    network: SplitNetwork,
    frame: HeadFrame,
    clock: Callable[[], float],
    check_ready: Callable[[HeadFrame, TailProgram], None] = lambda frame, program: None,
) -> TailComputed:
    """Check, decode and compute a frame.

    Args:
        network: the model.
        frame: the frame.
        clock: monotonic seconds.
        check_ready: called before anything would be compiled; may raise.

    Raises:
        FrameRefused: as ``check_frame``.
    """
    began_s = clock()
    if frame.codec in network.sets:
        # Before it is decoded, which would compile the decoder on this thread.
        check_ready(frame, program_of(network, frame))
    program, arrays = check_frame(network, frame)
    check_ready(frame, program)
    decoded_s = clock()
    outputs = network.engine.run(arrays, program.outputs)
    spent_s = clock() - decoded_s
    answer = network.decode(outputs, frame.exit_number)
    return TailComputed(answer, spent_s, program.profiled_s, clock() - began_s)


def outcome_of(
    network: SplitNetwork, frame: HeadFrame, clock: Callable[[], float]
) -> TailComputed | TailFailed:
    """Finish one frame, whatever happens."""
    try:
        return finish_frame(network, frame, clock)
    except Exception as error:
        return failure(frame, error)


def finish_batch(
    network: SplitNetwork, frames: Sequence[HeadFrame], clock: Callable[[], float]
) -> tuple[BatchEnded, bool]:
    """Compute frames of one part together, those that pass their checks; else one by one.

    Returns:
        What became of each, and whether they could be computed together.
    """
    began_s = clock()
    outcomes: dict[int, TailComputed | TailFailed] = {}
    checked: dict[int, tuple[TailProgram, dict[str, NDArray[Any]]]] = {}
    for place, frame in enumerate(frames):
        try:
            checked[place] = check_frame(network, frame)
        except Exception as error:
            outcomes[place] = failure(frame, error)
    if checked:
        decoded_s = clock()
        (program, _), *_ = checked.values()
        try:
            given = [arrays for _, arrays in checked.values()]
            computed = network.engine.run_batch(given, program.outputs)
        except Exception:
            log.exception("%d frames could not be computed together", len(checked))
            return BatchEnded([outcome_of(network, frame, clock) for frame in frames]), False
        spent_s = (clock() - decoded_s) / len(checked)
        for place, outputs in zip(checked, computed, strict=True):
            try:
                answer = network.decode(outputs, frames[place].exit_number)
                outcomes[place] = TailComputed(answer, spent_s, program.profiled_s)
            except Exception as error:
                outcomes[place] = failure(frames[place], error)
    took_s = clock() - began_s
    return BatchEnded([outcomes[place] for place in range(len(frames))], took_s), True
