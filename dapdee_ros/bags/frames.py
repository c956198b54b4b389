"""The frames of a bag as network input, with their times and ground truth."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import SCENE_TRUTH
from dapdee_ros.bags.pictures import PictureError, picture
from dapdee_ros.bags.reader import Bag, Topic
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.runtime.network_input import network_input
from dapdee_ros.tasks.task import Task

# A starting camera sends at most a few bad frames.
_FIRST_FRAMES = 30


@dataclass(frozen=True)
class BagFrame:
    """One frame.

    Attributes:
        log_ns: when it was recorded, in ns.
        stamp_ns: when it was taken, from its header, in ns.
        frame_id: its camera's coordinate frame.
        truth: the true answer about the image, of the task's kind; None if unknown.
        size: height and width of the image in pixels.
    """

    log_ns: int
    stamp_ns: int
    frame_id: str
    truth: Any | None
    size: tuple[int, int]


@dataclass(frozen=True)
class FrameStore:
    """All frames of a topic.

    Attributes:
        frames: in the order of recording.
        images: uint8 ``(n, height, width, 3)``, as the network takes them, in a temporary file.
        unreadable: the reason for every frame that could not be read.
    """

    frames: Sequence[BagFrame]
    images: NDArray[np.uint8]
    unreadable: Sequence[str]

    @property
    def arrivals_s(self) -> NDArray[np.float64]:
        """Each frame's arrival, in s since the first, float64 ``(n,)``."""
        first_ns = self.frames[0].log_ns
        return np.array([(f.log_ns - first_ns) / 1e9 for f in self.frames])


def read_frames(
    bag: Bag,
    topic: Topic,
    spec: InputSpec,
    task: Task,
    *,
    most: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FrameStore:
    """Read the frames of an image topic.

    A frame's ground truth is taken from the SceneTruth message with its stamp.

    Args:
        bag: the bag.
        topic: one of its image topics.
        spec: how the network wants its images.
        task: the network's.
        most: stop after this many frames.
        progress: called with the frames read and the total.

    Raises:
        BagError: if the bag is damaged, or none of its first frames can be read.
    """
    truths = read_truths(bag, task)
    count = topic.count if most is None else min(most, topic.count)
    # An hour of frames need not fit into memory.
    with tempfile.TemporaryFile() as file:
        images = np.memmap(file, np.uint8, "w+", shape=(count, *spec.size, 3))
    frames: list[BagFrame] = []
    unreadable: list[str] = []
    for _topic, log_ns, message in bag.messages(topic):
        if len(frames) + len(unreadable) >= count:
            break
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        try:
            rgb = picture(message)
            images[len(frames)] = network_input(rgb, spec)[0]
        except PictureError as error:
            unreadable.append(str(error))
            if not frames and len(unreadable) == min(count, _FIRST_FRAMES):
                # Not a few bad frames, but an unsupported topic.
                raise BagError(
                    f"topic {topic.name} of {bag.path}: none of its first {len(unreadable)} frames "
                    f"can be read: {error}"
                ) from error
            continue
        size = (rgb.shape[0], rgb.shape[1])
        camera, truth = message.header.frame_id, truths.get(stamp_ns)
        frames.append(BagFrame(log_ns, stamp_ns, camera, truth, size))
        if progress is not None:
            progress(len(frames) + len(unreadable), count)
    return FrameStore(frames, images[: len(frames)], unreadable)


def read_truths(bag: Bag, task: Task) -> dict[int, Any]:
    """The true answer by the image's stamp in ns, where the task finds one (``truth_in``)."""
    truths: dict[int, Any] = {}
    topics = bag.of_kind(SCENE_TRUTH)
    for _topic, _log_ns, message in bag.messages(*topics) if topics else ():
        truth = task.truth_in(message)
        if truth is not None:
            stamp = message.header.stamp
            truths[stamp.sec * 1_000_000_000 + stamp.nanosec] = truth
    return truths
