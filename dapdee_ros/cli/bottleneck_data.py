"""The frames that `dapdee bottleneck` trains on, and those that it measures on."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.split import DataError

if TYPE_CHECKING:
    from dapdee_ros.datasets.scene_data import SceneData
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.training.task import Frames

LEAST_FRAMES = 10
"""Fewest images that can be divided into those to train and those to measure on."""

_HELD_OUT_SHARE = 0.2


@dataclass(frozen=True)
class BottleneckData:
    """Frames of the network's input size.

    Attributes:
        training: to train on.
        counted: to count the priors on.
        judged: to measure bytes and quality on.
        truths: what those show, as the model's task compares it: answers, or classes of a
            classifier; None: nobody has said, the network's own answers count.
        description: of those that are measured on.
    """

    training: Frames
    counted: Frames
    judged: Frames
    truths: Sequence[Any] | None
    description: str


class Stack:
    """Frames in memory, or read one by one where they are asked for."""

    def __init__(self, count: int, frame: Callable[[int], NDArray[np.uint8]]) -> None:
        self._count, self._frame = count, frame

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of them by their places, uint8 ``(n, H, W, 3)``."""
        return np.stack([self._frame(int(place)) for place in chosen])


class KeptFrames:
    """Frames that are rendered or read once and then kept in a temporary file.

    Args:
        frames: where they come from.
        size: their height and width.
    """

    def __init__(self, frames: Frames, size: tuple[int, int]) -> None:
        self._frames = frames
        with tempfile.TemporaryFile() as file:
            self._pixels = np.memmap(file, np.uint8, "w+", shape=(len(frames), *size, 3))
        self._there = np.zeros(len(frames), bool)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._there)

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of them by their places, uint8 ``(n, H, W, 3)``."""
        for place in np.unique(chosen[~self._there[chosen]]):
            self._pixels[place] = self._frames.pixels(np.array([place]))[0]
            self._there[place] = True
        return np.array(self._pixels[chosen])


def open_frames(
    data: str, card: ModelCard, frames: int, held_out: int, topic: str | None = None
) -> BottleneckData:
    """The data of a command line.

    Args:
        data: ``roadscenes``, ``roadsigns``, ``yolo:DIR``, ``coco:DIR``, ``cifar10:DIR``,
            ``folder:DIR`` or ``bag:FILE``.
        card: the model.
        frames: most to train on.
        held_out: most to count on, and to measure on.
        topic: of a bag: the image topic, None: the only one.

    Raises:
        DataError: if there is no such data, or too little of it.
        BagError: of a bag.
    """
    from dapdee_ros.datasets.labelled_scenes import is_scenes
    from dapdee_ros.tasks.classification import Classifier

    kind, _, where = data.partition(":")
    classifies = card.task["name"] == Classifier.name
    if is_scenes(data):
        found = _scenes(data, card, frames, held_out)
    elif kind == "bag" and where:
        found = _bag(Path(where).expanduser(), card, frames, held_out, topic)
    elif classifies and (kind in ("roadsigns", "cifar10") or _has_classes(kind, where, card)):
        found = _classified(data, card, frames, held_out)
    elif kind == "folder" and where:
        found = _folder(Path(where).expanduser(), card, frames, held_out)
    else:
        raise DataError(
            f"data {data!r}: expected folder:DIR, bag:FILE, roadscenes, yolo:DIR, coco:DIR"
            f"{', roadsigns or cifar10:DIR' if classifies else ''} for {card.task['name']}"
        )
    return found


def _scenes(data: str, card: ModelCard, frames: int, held_out: int) -> BottleneckData:
    """Scenes; their truth counts if it is of the model's classes."""
    from dapdee_ros.cli.progress import shown_files
    from dapdee_ros.datasets.labelled_scenes import open_scenes
    from dapdee_ros.datasets.scene_data import SCENES
    from dapdee_ros.runtime.network_input import frame_as_input
    from dapdee_ros.tasks.detection import Detector
    from dapdee_ros.tasks.segmentation import Segmenter
    from dapdee_ros.training.scene_truth import true_detections, true_surfaces

    rendered = data == SCENES
    source = open_scenes(
        data,
        card.input_size,
        frames_per_epoch=frames if rendered else None,
        held_out_frames=held_out if rendered else None,
        place=partial(frame_as_input, spec=card.input_spec),
        show=shown_files,
    )
    training = _varied(source, frames)
    counted, judged = source.held_out(), source.calibration()
    places = range(min(held_out, len(judged)))
    truths: list[Any] | None = None
    if card.task["name"] == Detector.name and source.labels == card.labels:
        truths = [true_detections(judged[place]) for place in places]
    elif card.task["name"] == Segmenter.name and source.surfaces == card.labels:
        truths = [true_surfaces(judged[place]) for place in places]
    size = card.input_size
    return BottleneckData(
        KeptFrames(training, size),
        KeptFrames(_first(counted, held_out), size),
        KeptFrames(_first(judged, held_out), size),
        truths,
        judged.description,
    )


def _varied(source: SceneData, most: int) -> Frames:
    """Frames of as many epochs as there have to be: each varies what a small data set holds."""
    epochs = [source.train(0)]
    each = len(epochs[0])
    epochs += [source.train(epoch) for epoch in range(1, -(-most // each))]
    return Stack(most, lambda place: epochs[place // each].pixels(np.array([place % each]))[0])


def _first(frames: Frames, most: int) -> Frames:
    """The first of some frames; of stored ones in any order the others are not read."""
    count = min(most, len(frames))
    return Stack(count, lambda place: frames.pixels(np.array([place]))[0])


def _has_classes(kind: str, where: str, card: ModelCard) -> bool:
    """Whether a folder holds a folder of images for each of the model's classes."""
    if kind != "folder" or not where:
        return False
    root = Path(where).expanduser()
    found = {path.name for part in ("", "train") for path in (root / part).glob("*/")}
    return set(card.labels) <= found


def _classified(data: str, card: ModelCard, frames: int, held_out: int) -> BottleneckData:
    """Images with one class each."""
    from dapdee_ros.datasets.sources import open_data

    source = open_data(
        data, size=card.input_size, frames_per_epoch=frames, held_out_frames=held_out
    )
    if source.labels != card.labels or source.size != card.input_size:
        raise DataError(
            f"{card.path} distinguishes {len(card.labels)} classes {card.labels[:3]}... in "
            f"{card.input_size} frames, {data} has {len(source.labels)} {source.labels[:3]}... in "
            f"{source.size}"
        )
    training, counted, judged = source.train(0), source.held_out(), source.calibration()
    # Stored images may be sorted by class.
    some = np.linspace(0, len(judged) - 1, min(held_out, len(judged))).astype(np.int64)
    return BottleneckData(
        _spread(training, frames),
        _spread(counted, held_out),
        _spread(judged, held_out),
        [int(label) for label in judged.labels[some]],
        judged.description,
    )


def _spread(frames: Frames, most: int) -> Frames:
    places = np.linspace(0, len(frames) - 1, min(most, len(frames))).astype(np.int64)
    return Stack(len(places), lambda place: frames.pixels(places[place : place + 1])[0])


def _folder(root: Path, card: ModelCard, frames: int, held_out: int) -> BottleneckData:
    """All images in a folder and the folders in it; nobody says what they show."""
    from dapdee_ros.datasets.opencv_pictures import required_picture
    from dapdee_ros.datasets.picture_files import PICTURE_SUFFIXES, pictures_in
    from dapdee_ros.runtime.network_input import network_input

    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    folders = [root, *sorted(p for p in root.rglob("*") if p.is_dir())]
    files = [
        path
        for folder in folders
        if not any(part.startswith(".") for part in folder.relative_to(root).parts)
        for path in pictures_in(folder)
    ]
    if not files:
        raise DataError(f"no images in {root}: expected {', '.join(PICTURE_SUFFIXES)} files")

    def frame(place: int) -> NDArray[np.uint8]:
        return network_input(required_picture(files[place]), card.input_spec)[0]

    return _divided(
        Stack(len(files), frame), card, frames, held_out, f"images of {root.resolve().name}"
    )


def _bag(
    path: Path, card: ModelCard, frames: int, held_out: int, topic_name: str | None
) -> BottleneckData:
    """The frames of a recording; truth that it holds is not asked for, most have none."""
    from tqdm import tqdm

    from dapdee_ros.bags.frames import read_frames
    from dapdee_ros.bags.reader import IMAGE_KINDS, Bag
    from dapdee_ros.tasks.task import task_of

    with Bag(path) as bag, tqdm(desc="reading frames", unit="frame", file=sys.stderr) as bar:
        topic = bag.choose(IMAGE_KINDS, topic_name, "--topic", "image topic")

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        store = read_frames(
            bag, topic, card.input_spec, task_of(card), most=frames + 2 * held_out, progress=tell
        )
    images = store.images
    stack = Stack(len(images), lambda place: images[place])
    return _divided(stack, card, frames, held_out, f"frames of {path.name}")


def _divided(
    whole: Frames, card: ModelCard, frames: int, held_out: int, what: str
) -> BottleneckData:
    """Frames without truth: the last fifth is held out, half of it to count, half to measure on.

    Neighbours of a recording look alike, so that what is held out lies in one piece.
    """
    count = len(whole)
    if count < LEAST_FRAMES:
        raise DataError(
            f"{count} {what}: at least {LEAST_FRAMES} are needed to train on some and measure on "
            "others"
        )
    kept = count - max(2, min(2 * held_out, round(_HELD_OUT_SHARE * count)))
    middle = (kept + count + 1) // 2

    def piece(start: int, end: int, most: int) -> Frames:
        places = np.linspace(start, end - 1, min(most, end - start)).astype(np.int64)
        chosen = Stack(len(places), lambda k: whole.pixels(places[k : k + 1])[0])
        return KeptFrames(chosen, card.input_size)

    judged = piece(middle, count, held_out)
    return BottleneckData(
        piece(0, kept, frames),
        piece(kept, middle, held_out),
        judged,
        None,
        f"{len(judged)} of {count} {what}, judged by the network's own answers",
    )
