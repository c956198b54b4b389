"""Data by name: ``roadsigns``, ``cifar10:DIR``, ``folder:DIR``. No torch in here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.opencv_pictures import required_picture
from dapdee_ros.datasets.picture_files import (
    PICTURE_SUFFIXES,
    folders_in,
    pictures_in,
)
from dapdee_ros.datasets.roadsigns import DEFAULT_SIZE, LABELS, LEAST_SIDE, RoadSigns
from dapdee_ros.datasets.split import DataError, DataSource, Split

_HELD_OUT = ("test", "val", "valid", "validation")
_PARTS = ("train", *_HELD_OUT)
_TRAIN_SEED, _HELD_OUT_SEED, _CALIBRATION_SEED = 1, 1_000_001, 1_000_002

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


class RenderedSigns:
    """Road signs, rendered on demand: every epoch gets new ones."""

    labels = LABELS
    mean = (0.42, 0.42, 0.43)
    std = (0.25, 0.24, 0.25)
    flip = False
    shift = 0

    def __init__(
        self,
        size: tuple[int, int] = DEFAULT_SIZE,
        frames_per_epoch: int = 20_000,
        held_out_frames: int = 5_000,
    ) -> None:
        self.size = size
        self._frames_per_epoch = frames_per_epoch
        self._held_out_frames = held_out_frames

    def frames_per_epoch(self) -> int:
        """How many frames ``train`` gives."""
        return self._frames_per_epoch

    def _render(self, seed: int, start: int, count: int) -> Split:
        signs = RoadSigns(seed, self.size)
        images = np.empty((count, *self.size, 3), np.uint8)
        labels = np.empty(count, np.int64)
        for place in range(count):
            frame = signs.frame(start + place)
            images[place], labels[place] = frame.image, frame.label
        return Split(images, labels, f"rendered road signs, seed {seed}, {count} frames")

    def train(self, epoch: int) -> Split:
        """Frames to train on in this epoch."""
        count = self._frames_per_epoch
        return self._render(_TRAIN_SEED, epoch * count, count)

    def held_out(self) -> Split:
        """Frames to evaluate a model on."""
        return self._render(_HELD_OUT_SEED, 0, self._held_out_frames)

    def calibration(self) -> Split:
        """Frames to calibrate on."""
        return self._render(_CALIBRATION_SEED, 0, self._held_out_frames)


class StoredImages:
    """Images kept in memory, split into a training and a held-out set."""

    def __init__(
        self,
        train: Split,
        held_out: Split,
        labels: tuple[str, ...],
        *,
        flip: bool,
        mean: tuple[float, float, float] = (0.485, 0.456, 0.406),
        std: tuple[float, float, float] = (0.229, 0.224, 0.225),
    ) -> None:
        self._train, self._held_out = train, held_out
        self.labels = labels
        self.size: tuple[int, int] = (train.images.shape[1], train.images.shape[2])
        self.mean, self.std = mean, std
        self.flip = flip
        self.shift = max(1, min(self.size) // 8)

    def frames_per_epoch(self) -> int:
        """How many frames ``train`` gives."""
        return len(self._train)

    def train(self, epoch: int) -> Split:
        """Frames to train on in this epoch."""
        return self._train

    def held_out(self) -> Split:
        """Frames to evaluate a model on."""
        return self._held_out

    def calibration(self) -> Split:
        """Frames to calibrate on."""
        # There is one held-out set; half of it is used for calibration, and the description says
        # so.
        half = self._held_out
        return Split(half.images[::2], half.labels[::2], f"every second of {half.description}")


def _read_folder(folder: Path, classes: tuple[str, ...], size: tuple[int, int] | None) -> Split:
    """All images of ``folder/<class>/``, resized if a size is given."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        paths = sorted(pictures_in(folder / name))
        if not paths:
            raise DataError(
                f"no images in {folder / name}: a class folder holds "
                f"{', '.join(PICTURE_SUFFIXES)} files"
            )
        for path in paths:
            image = required_picture(path)
            if size is not None and image.shape[:2] != size:
                smaller = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
                image = np.asarray(smaller, np.uint8)
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, the others are "
                    f"{images[0].shape[1]}x{images[0].shape[0]}: give a size to resize them to"
                )
            images.append(image)
            labels.append(label)
    stacked = np.ascontiguousarray(np.stack(images))
    return Split(stacked, np.array(labels, np.int64), f"{len(labels)} images of {folder.name}/")


def _classes(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    classes = tuple(path.name for path in folders_in(folder))
    if len(classes) < 2:
        raise DataError(
            f"{folder} holds {len(classes)} class folders, at least 2 are needed: one folder per "
            "class, with its images in it"
        )
    return classes


def open_folders(root: Path, size: tuple[int, int] | None, flip: bool = True) -> StoredImages:
    """Images in ``root/train/<class>/`` and ``root/test/<class>/`` (or ``val``, ``valid``,
    ``validation``).

    Without these folders the classes are in ``root`` itself, and every fifth image is held out.
    Hidden files and folders are ignored.

    Raises:
        DataError: if a folder is missing or empty, an image cannot be read or is truncated, the
            classes differ, or the sizes differ and no size was requested.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    # A folder with folders in it is a part; with images in it, it is a class of that name.
    parts = [p for p in folders_in(root) if p.name in _PARTS and folders_in(p)]
    test = next((p for p in parts if p.name in _HELD_OUT), None)
    if parts and (test is None or root / "train" not in parts):
        raise DataError(
            f"{root} holds {' and '.join(f'{p.name}/' for p in parts)} with folders in it, but no "
            f"{'train/' if test else 'test/ or val/'}: a data set in parts has both. Add it, or "
            f"give {parts[0]}, of which every fifth image is then held out"
        )
    if test is not None:
        classes = _classes(root / "train")
        if _classes(test) != classes:
            raise DataError(f"{test} has other classes {_classes(test)} than train/ {classes}")
        train = _read_folder(root / "train", classes, size)
        used = size or (train.images.shape[1], train.images.shape[2])
        return StoredImages(train, _read_folder(test, classes, used), classes, flip=flip)
    classes = _classes(root)
    whole = _read_folder(root, classes, size)
    held = np.arange(len(whole)) % 5 == 4
    if held.sum() < len(classes):
        raise DataError(f"{root} holds {len(whole)} images: too few to hold every fifth out")
    return StoredImages(
        Split(whole.images[~held], whole.labels[~held], f"four fifths of {whole.description}"),
        Split(whole.images[held], whole.labels[held], f"every fifth of {whole.description}"),
        classes,
        flip=flip,
    )


def open_cifar10(root: Path) -> StoredImages:
    """CIFAR-10 in torchvision's format, or as folders ``train/<class>/``, ``test/<class>/``.

    Raises:
        DataError: if neither is there.
    """
    if (root / "train").is_dir():
        source = open_folders(root, (32, 32))
        if source.labels != CIFAR10_CLASSES:
            raise DataError(f"{root} holds {source.labels}, CIFAR-10 has {CIFAR10_CLASSES}")
    elif (root / "cifar-10-batches-py").is_dir():
        from dapdee_ros.datasets.cifar10_batches import read_batches

        train, test = read_batches(root)
        source = StoredImages(train, test, CIFAR10_CLASSES, flip=True)
    else:
        raise DataError(
            f"no CIFAR-10 in {root}: expected train/<class>/ and test/<class>/ with images, or "
            "torchvision's cifar-10-batches-py/"
        )
    source.mean, source.std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
    return source


def open_data(
    name: str,
    *,
    size: tuple[int, int] | None = None,
    frames_per_epoch: int = 20_000,
    held_out_frames: int = 5_000,
    flip: bool | None = None,
) -> DataSource:
    """A data source by its name on the command line.

    Args:
        name: ``roadsigns``, ``cifar10:DIR`` or ``folder:DIR``.
        size: height and width; None is the source's own.
        frames_per_epoch: for ``roadsigns``, which is endless.
        held_out_frames: for ``roadsigns``.
        flip: for ``folder``: whether mirrored images keep their class (default yes).

    Raises:
        DataError: if there is no such source or its folder has the wrong layout.
    """
    kind, _, where = name.partition(":")
    if kind == "roadsigns" and not where:
        if size is not None and min(size) < LEAST_SIDE:
            raise DataError(
                f"road signs are rendered in frames of at least {LEAST_SIDE}x{LEAST_SIDE} pixels, "
                f"got {size[0]}x{size[1]}: give a larger --size"
            )
        return RenderedSigns(size or DEFAULT_SIZE, frames_per_epoch, held_out_frames)
    if kind == "cifar10" and where:
        return open_cifar10(Path(where).expanduser())
    if kind == "folder" and where:
        return open_folders(Path(where).expanduser(), size, True if flip is None else flip)
    raise DataError(f"data {name!r}: expected roadsigns, cifar10:DIR or folder:DIR")
