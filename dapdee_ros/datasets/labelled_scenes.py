"""Data sets in YOLO's and COCO's layout to train and evaluate on. No torch in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.coco_folder import open_coco
from dapdee_ros.datasets.frame_source import SourceFrame, Truth
from dapdee_ros.datasets.labelled_pictures import LabelledPictures, Shown, unshown
from dapdee_ros.datasets.labelled_source import LAYOUTS, scaled
from dapdee_ros.datasets.scene_data import SCENES, RenderedScenes, SceneData
from dapdee_ros.datasets.split import DataError
from dapdee_ros.datasets.yolo_folder import PARTS, open_yolo, yolo_parts

_HELD_OUT_SHARE = 0.2
_OF_COLOUR = 200
"""Images that mean and deviation of the colours are measured on."""

_LEAST_SCALE = 0.5
"""Of a side of the image in training: what is cut out of it is at least so large."""

_LEAST_LEFT = 0.3
"""An object of which less than this share is left by cutting is no example any more."""


Place = Callable[[SourceFrame], SourceFrame]
"""Brings a frame to a size, what it shows too."""


class PictureSeries:
    """Some images of a data set at one size.

    Args:
        pictures: the data set.
        places: which of its images, in this order.
        size: height and width in pixels.
        seed: how they are varied: cut out, mirrored, brightened; None: not at all.
        place: brings an image to the size; by default each side by its own factor.

    Attributes:
        places: which of the data set's images these are.
        description: human-readable description.
    """

    def __init__(
        self,
        pictures: LabelledPictures,
        places: NDArray[np.int64],
        size: tuple[int, int],
        seed: Sequence[int] | None = None,
        place: Place | None = None,
    ) -> None:
        self.places = places
        self._pictures, self._seed = pictures, seed
        self._place = place or partial(scaled, size=size)
        some = "" if len(places) == len(pictures) else f"{len(places)} of "
        self.description = f"{some}{pictures.description}"

    def __len__(self) -> int:
        """How many there are."""
        return len(self.places)

    def __getitem__(self, place: int) -> SourceFrame:
        """One image with what it shows.

        Raises:
            IndexError: if there is no such image.
            DataError: if it cannot be read.
        """
        if not 0 <= place < len(self.places):
            raise IndexError(f"image {place} of {len(self.places)}")
        frame = self._pictures[int(self.places[place])]
        if self._seed is not None:
            frame = varied(frame, np.random.default_rng((*self._seed, place)))
        return self._place(frame)

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Some of the images by their places, uint8 ``(n, H, W, 3)``."""
        return np.stack([self[int(place)].image for place in chosen])


class LabelledScenes:
    """A data set's images, in another order and varied anew in every epoch.

    Attributes:
        labels: names of the classes of objects.
        surfaces: names of the classes in class maps; empty if there are none.
        size: height and width that all images are brought to.
    """

    def __init__(
        self,
        training: LabelledPictures,
        held_out: LabelledPictures | None,
        calibration: LabelledPictures | None,
        size: tuple[int, int],
        seed: int = 0,
        place: Place | None = None,
    ) -> None:
        """Prepare.

        Args:
            training: to train on.
            held_out: to evaluate on; None: a fifth of those to train on, which are left out there.
            calibration: to calibrate on; None: half of those to evaluate on, which are left out
                there.
            size: height and width in pixels.
            seed: of the order and the variation.
            place: brings an image to that size; see ``PictureSeries``.

        Raises:
            DataError: if the parts have different classes, or there are too few images.
        """
        for part in (held_out, calibration):
            if part is not None and part.labels != training.labels:
                raise DataError(
                    f"{part.description} has the classes {list(part.labels)[:5]} ..., "
                    f"{training.description} has {list(training.labels)[:5]} ...: all parts of a "
                    "data set need the same, in the same order"
                )
        self.labels, self.surfaces = training.labels, training.surfaces
        self.size, self._seed, self._place = size, seed, place
        self._training = training
        kept, others = _shares(len(training), _HELD_OUT_SHARE if held_out is None else 0.0)
        self._kept = kept
        self._held_out = held_out or training
        places = others if held_out is None else np.arange(len(held_out))
        if calibration is None:
            places, of_calibration = _shares(len(places), 0.5, places)
        else:
            of_calibration = np.arange(len(calibration))
        self._calibration = calibration or self._held_out
        self._held_out_places, self._calibration_places = places, of_calibration
        if not (len(kept) and len(places) and len(of_calibration)):
            raise DataError(
                f"{training.description}: too few to train on, to evaluate on and to calibrate on"
            )

    @cached_property
    def _colours(self) -> NDArray[np.float64]:
        chosen = self._kept[:: max(1, len(self._kept) // _OF_COLOUR)]
        pixels = [self._training[int(place)].image[::4, ::4].reshape(-1, 3) for place in chosen]
        values = np.concatenate(pixels) / 255.0
        return np.stack([values.mean(0), np.maximum(values.std(0), 0.01)])

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each colour channel, of values from 0 to 1, of some images."""
        red, green, blue = self._colours[0].round(3).tolist()
        return red, green, blue

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of each channel, likewise."""
        red, green, blue = self._colours[1].round(3).tolist()
        return red, green, blue

    def frames_per_epoch(self) -> int:
        """How many images there are to train on."""
        return len(self._kept)

    def train(self, epoch: int, size: tuple[int, int] | None = None) -> PictureSeries:
        """The images to train on in the order of this epoch (from 0), varied."""
        order = np.random.default_rng((self._seed, epoch)).permutation(self._kept)
        return PictureSeries(
            self._training, order, size or self.size, (self._seed, epoch), self._place
        )

    def held_out(self) -> PictureSeries:
        """The images to evaluate a model on."""
        return PictureSeries(self._held_out, self._held_out_places, self.size, place=self._place)

    def calibration(self) -> PictureSeries:
        """The images to calibrate on."""
        return PictureSeries(
            self._calibration, self._calibration_places, self.size, place=self._place
        )


def is_scenes(data: str) -> bool:
    """Whether such data has objects or surfaces, not one class per image."""
    return data == SCENES or data.partition(":")[0] in LAYOUTS


def open_scenes(
    data: str,
    size: tuple[int, int],
    *,
    frames_per_epoch: int | None = None,
    held_out_frames: int | None = None,
    seed: int = 0,
    place: Place | None = None,
    show: Shown = unshown,
) -> SceneData:
    """Data with objects or surfaces.

    Args:
        data: ``roadscenes``, ``yolo:DIR`` or ``coco:DIR``.
        size: height and width of the frames in pixels.
        frames_per_epoch: of rendered data, 2,000 unless given.
        held_out_frames: likewise.
        seed: of what is trained on.
        place: brings an image in a file to that size, as the network's input is made; by default
            each side by its own factor.
        show: shows how far one has got with reading what images show.

    Raises:
        DataError: if there is no such data, or it contradicts itself.
    """
    layout, _, where = data.partition(":")
    if data != SCENES:
        if layout not in LAYOUTS or not where:
            raise DataError(f"no data {data!r}: expected {SCENES}, yolo:DIR or coco:DIR")
        if frames_per_epoch or held_out_frames:
            raise DataError(f"how many frames {data} has is known: these options are for {SCENES}")
        return open_labelled(layout, Path(where).expanduser(), size, seed, show, place)
    try:
        return RenderedScenes(size, frames_per_epoch or 2_000, held_out_frames or 2_000, seed)
    except ValueError as error:
        raise DataError(f"--seed: {error}") from error


def open_labelled(
    layout: str,
    where: Path,
    size: tuple[int, int],
    seed: int = 0,
    show: Shown = unshown,
    place: Place | None = None,
) -> LabelledScenes:
    """A data set to train and evaluate on.

    In YOLO's layout the parts ``val`` and ``test`` are to evaluate and to calibrate on, as far as
    there are such; in COCO's a file ``*val*.json`` beside ``*train*.json``.

    Args:
        layout: ``yolo`` or ``coco``.
        where: folder or file of the data set.
        size: height and width in pixels.
        seed: of the order and the variation of the images.
        show: shows how far one has got with reading what images show.
        place: brings an image to that size; by default each side by its own factor.

    Raises:
        DataError: if it cannot be read, or contradicts itself.
    """
    if layout == "yolo":
        there = yolo_parts(where)
        names = there if "train" in there else ("",)
        parts = [open_yolo(where, name, show) for name in names]
    else:
        parts = [open_coco(path, show) for path in _coco_parts(where)]
    held_out = parts[1] if len(parts) > 1 else None
    calibration = parts[2] if len(parts) > 2 else None
    return LabelledScenes(parts[0], held_out, calibration, size, seed, place)


def varied(frame: SourceFrame, random: np.random.Generator) -> SourceFrame:
    """A part of a frame, mirrored in half of the cases, a bit brighter or darker.

    Args:
        frame: an image with what it shows.
        random: where the draws come from.
    """
    height, width = frame.image.shape[:2]
    share = random.uniform(_LEAST_SCALE, 1.0)
    part_height = max(1, round(height * share))
    part_width = max(1, min(width, round(width * share * random.uniform(0.85, 1.18))))
    top = int(random.integers(height - part_height + 1))
    left = int(random.integers(width - part_width + 1))
    rows, columns = slice(top, top + part_height), slice(left, left + part_width)
    image = frame.image[rows, columns]
    gain, shift = random.uniform(0.7, 1.3), random.uniform(-20, 20)
    image = np.clip(image * np.float32(gain) + np.float32(shift), 0, 255).astype(np.uint8)
    mirrors = random.random() < 0.5
    if mirrors:
        image = image[:, ::-1]
    truth = frame.truth
    if truth is None:
        return SourceFrame(np.ascontiguousarray(image))
    boxes, labels, class_map = truth.boxes, truth.box_labels, truth.class_map
    if boxes is not None:
        boxes, kept = _cut(boxes, (left, top, left + part_width, top + part_height))
        labels = labels[kept]
        if mirrors:
            boxes = np.stack(
                [part_width - boxes[:, 2], boxes[:, 1], part_width - boxes[:, 0], boxes[:, 3]], 1
            )
    if class_map is not None:
        class_map = class_map[rows, columns]
        class_map = np.ascontiguousarray(class_map[:, ::-1] if mirrors else class_map)
    return SourceFrame(np.ascontiguousarray(image), Truth(truth.label, boxes, labels, class_map))


def _cut(
    boxes: NDArray[np.float32], part: tuple[int, int, int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes within a part of an image, in its pixels, and which of them are left."""
    left, top, right, bottom = part
    within = np.clip(boxes, [left, top, left, top], [right, bottom, right, bottom])
    area, before = ((of[:, 2] - of[:, 0]) * (of[:, 3] - of[:, 1]) for of in (within, boxes))
    kept = area > _LEAST_LEFT * before
    return (within - [left, top, left, top])[kept].astype(np.float32), kept


def _shares(
    count: int, share: float, places: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places to keep and others, spread evenly: neighbours in a folder are often alike.

    The others come in blocks of ten where there are enough, so that frames of one drive are not on
    both sides of most borders.
    """
    places = np.arange(count) if places is None else places
    block = max(1, min(10, count // 10))
    number = np.arange(count) // block
    others = np.floor((number + 1) * share) > np.floor(number * share)
    return places[~others], places[others]


def _coco_parts(where: Path) -> list[Path]:
    """Files of annotations to train on, to evaluate on and to calibrate on, as far as there are."""
    if where.is_file():
        return [where]
    found = sorted({*where.glob("*.json"), *(where / "annotations").glob("*.json")})
    of_objects = [path for path in found if path.name.startswith("instances_")] or found
    by_part = {part: [path for path in of_objects if part in path.name.lower()] for part in PARTS}
    if any(len(paths) > 1 for paths in by_part.values()):
        raise DataError(
            f"{where} has several files of annotations for one part: "
            f"{', '.join(path.name for path in of_objects[:8])}; give the file to train on"
        )
    if not by_part["train"]:
        return [where]
    return [path for part in PARTS for path in by_part[part]]
