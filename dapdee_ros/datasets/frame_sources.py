"""The sources of a camera's frames: rendered scenes, a device, a video, a folder. No ROS here.

A source is an iterator. It yields a ``SourceFrame``, or None if there is no new frame yet (from a
camera), and stops when the source ends. OpenCV is imported only by the sources that need it, so
that the rendered camera stays small.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.frame_source import FrameSource, SourceError, SourceFrame, Truth
from dapdee_ros.datasets.opencv_pictures import bgr_to_rgb, open_capture, read_picture
from dapdee_ros.datasets.picture_files import (
    PICTURE_SUFFIXES,
    folders_in,
    jpeg_of,
    pictures_in,
    what_is_missing,
)
from dapdee_ros.datasets.rendered_sources import SceneSource, SignSource

log = logging.getLogger(__name__)

SOURCES = ("roadsigns", "roadscenes", "device", "video", "images", "yolo", "coco")


class VideoSource:
    """A video file, frame after frame.

    Args:
        path: the file.
        loop: restart at its end.
        size: height and width to resize to; 0 keeps the video's.

    Raises:
        SourceError: if there is no such file or no frame of it can be read.
    """

    labels: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()

    def __init__(self, path: Path, *, loop: bool = False, size: tuple[int, int] = (0, 0)) -> None:
        if not path.is_file():
            raise SourceError(f"no video file {path}: expected the path of a file OpenCV can read")
        self._path, self._loop, self._size = path, loop, size
        self._capture = open_capture(str(path))
        self._next = self._read()
        if self._next is None:
            raise SourceError(
                f"{path} cannot be read as a video: it is damaged, not a video, or in a format "
                "that this OpenCV does not support (try converting it to MP4 with H.264)"
            )
        import cv2

        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        self.rate_hz = rate if 0 < rate < 1000 else None
        height, width = self._next.shape[:2]
        shown = f"{rate:.4g} Hz" if self.rate_hz else "of unknown rate"
        self.description = f"video {path.name}, {width}x{height}, {shown}"

    def _read(self) -> NDArray[np.uint8] | None:
        ok, bgr = self._capture.read() if self._capture.isOpened() else (False, None)
        return bgr_to_rgb(bgr, self._size) if ok and bgr is not None else None

    def __iter__(self) -> Iterator[SourceFrame | None]:
        return self

    def __next__(self) -> SourceFrame:
        image, self._next = self._next, None
        if image is None:
            image = self._read()
        if image is None and self._loop:
            # Opening it again works with every container; seeking does not.
            self._capture.release()
            self._capture = open_capture(str(self._path))
            image = self._read()
        if image is None:
            raise StopIteration
        return SourceFrame(image)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class FolderSource:
    """The images in a folder; if it contains class folders also their labels.

    Images without labels come in the order of their names (``2`` before ``10``): they may be the
    frames of a drive. Those with labels come in a random order given by the seed, so that classes
    mix.

    Args:
        folder: images, or folders named after classes with images in them.
        labels: the classes in the order that numbers them; empty: sorted by name.
        loop: restart at the end.
        seed: of the order of labelled images.
        size: height and width to resize to; 0 keeps the image's.
        files: whether frames hold their JPEG, where it has the pixels of the frame.

    Raises:
        SourceError: if there is no such folder, no image in it, or a class without a label.
    """

    rate_hz: float | None = None
    surfaces: tuple[str, ...] = ()

    def __init__(
        self,
        folder: Path,
        *,
        labels: Sequence[str] = (),
        loop: bool = False,
        seed: int = 0,
        size: tuple[int, int] = (0, 0),
        files: bool = False,
    ) -> None:
        self._files = files
        if not folder.is_dir():
            raise SourceError(f"no folder {folder}: expected a folder with images")
        self._folder, self._loop, self._size = folder, loop, size
        classes = {
            sub.name: pictures for sub in folders_in(folder) if (pictures := pictures_in(sub))
        }
        loose = pictures_in(folder)
        if not classes and not loose:
            raise SourceError(
                f"no images in {folder}: expected {', '.join(PICTURE_SUFFIXES)} files, "
                "or one folder per class with such files in it"
            )
        if classes and loose:
            raise SourceError(
                f"{folder} holds images ({loose[0].name}, ...) beside class folders "
                f"({', '.join(classes)}): move them apart, it is unclear what they show"
            )
        self.labels = tuple(labels) or tuple(classes) if classes else ()
        unknown = [name for name in classes if name not in self.labels]
        if unknown:
            raise SourceError(
                f"{folder} has class folders {unknown} that are not among the labels {labels}"
            )
        self._pictures: list[tuple[Path, int | None]] = [(path, None) for path in loose]
        for name, paths in classes.items():
            self._pictures += [(path, self.labels.index(name)) for path in paths]
        if classes:
            order = np.random.default_rng(seed).permutation(len(self._pictures))
            self._pictures = [self._pictures[place] for place in order]
        self._place = 0
        self._whole: set[Path] = set()
        labelled = f" of {len(classes)} classes" if classes else ""
        self.description = f"{len(self._pictures)} images{labelled} in {folder}"

    def __iter__(self) -> Iterator[SourceFrame | None]:
        return self

    def __next__(self) -> SourceFrame:
        while self._pictures:
            if self._place >= len(self._pictures):
                if not self._loop:
                    raise StopIteration
                self._place = 0
            path, label = self._pictures[self._place]
            why = "" if path in self._whole else what_is_missing(path)
            image = None if why else read_picture(path, self._size)
            if image is not None:
                self._whole.add(path)
                self._place += 1
                truth = None if label is None else Truth(label)
                file = jpeg_of(path, image.shape[:2]) if self._files else None
                return SourceFrame(image, truth, file)
            log.warning("%s is left out: %s", path, why or "it cannot be read as an image")
            # For good: a loop should not complain about it every time.
            del self._pictures[self._place]
        raise SourceError(f"none of the images in {self._folder} can be read")

    def close(self) -> None:
        """Nothing to release."""


def open_source(
    kind: str,
    *,
    path: str = "",
    device: str = "0",
    size: tuple[int, int] = (0, 0),
    rate_hz: float = 0.0,
    loop: bool = False,
    seed: int = 0,
    labels: Sequence[str] = (),
    files: bool = False,
) -> FrameSource:
    """A source by its kind.

    Args:
        kind: one of ``SOURCES``.
        path: file of a ``video``, folder of ``images``, folder or file of a data set in the layout
            of ``yolo`` or ``coco``.
        device: camera of ``device``.
        size: height and width, 0 for the source's own.
        rate_hz: rate requested from a ``device``.
        loop: whether videos, images and data sets restart at their end.
        seed: of rendered scenes and of the order of labelled ``images``.
        labels: order of the classes of ``images``.
        files: whether frames of a ``device`` and of ``images`` hold their JPEG, if they have one.

    Raises:
        SourceError: if it cannot be opened.
    """
    if kind not in SOURCES:
        raise SourceError(f"source {kind!r}, expected one of {', '.join(SOURCES)}")
    if kind == "roadsigns":
        return SignSource(seed, size)
    if kind == "roadscenes":
        return SceneSource(seed, size)
    if kind == "device":
        from dapdee_ros.datasets.camera_device import DeviceSource

        return DeviceSource(device, size=size, rate_hz=rate_hz, files=files)
    if not path:
        what = {"video": "video file", "images": "folder of images"}.get(kind, "data set")
        raise SourceError(f"source {kind!r} needs a path: that of the {what}")
    where = Path(path).expanduser()
    if kind == "video":
        return VideoSource(where, loop=loop, size=size)
    if kind in ("yolo", "coco"):
        from dapdee_ros.datasets.labelled_source import LabelledSource

        return LabelledSource(kind, where, loop=loop, size=size)
    return FolderSource(where, labels=labels, loop=loop, seed=seed, size=size, files=files)
