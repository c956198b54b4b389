"""A real camera as a frame source: a V4L2 device or a network camera's address. No ROS here."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.camera_file import camera_file_fault
from dapdee_ros.datasets.frame_source import FileFrame, SourceError, SourceFrame
from dapdee_ros.datasets.opencv_pictures import bgr_to_rgb, open_capture, quiet_cv2

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[a-z]+://")
_TIMEOUT_MS = 5000


class DeviceSource:
    """The newest frame of a camera; reconnects by itself when the camera returns.

    A thread reads as fast as the camera delivers and keeps only the newest frame: drivers queue
    several, so a slower reader would otherwise get increasingly old ones.

    Args:
        device: number (``0`` is ``/dev/video0``), device path, or address of a network camera
            (``http://...`` with MJPEG, ``rtsp://...``).
        size: height and width requested from the camera, and resized to if it delivers another; 0
            keeps the camera's own.
        rate_hz: rate requested from the camera, 0 keeps its own.
        retry_s: seconds between attempts to open a camera that has vanished.
        files: take the camera's JPEGs as they are, if it delivers any; its size is then only
            requested.

    Raises:
        SourceError: if there is no such camera or it delivers no image.
    """

    labels: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()

    def __init__(
        self,
        device: str,
        *,
        size: tuple[int, int] = (0, 0),
        rate_hz: float = 0.0,
        retry_s: float = 1.0,
        files: bool = False,
    ) -> None:
        self._files = files
        device = device.strip()
        self._device = f"/dev/video{device}" if device.isdecimal() else device
        self._size, self._asked_rate_hz, self._retry_s = size, rate_hz, retry_s
        capture, self._newest = self._open()
        import cv2

        rate = float(capture.get(cv2.CAP_PROP_FPS))
        self.rate_hz = rate if 0 < rate < 1000 else None
        height, width = self._newest.image.shape[:2]
        as_files = ", JPEG" if self._newest.file else ""
        self.description = f"camera {self._device}, {width}x{height}{as_files}"
        self._fresh = True
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reader = threading.Thread(
            target=self._read_on, args=(capture,), name="camera", daemon=True
        )
        self._reader.start()

    def _open(self) -> tuple[Any, SourceFrame]:
        """Open the camera and take a first frame."""
        cv2 = quiet_cv2()
        if _ADDRESS.match(self._device):
            timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
            settings = [item for name in timeouts for item in (name, _TIMEOUT_MS)]
            capture = open_capture(self._device, cv2.CAP_FFMPEG, settings)
        else:
            if not Path(self._device).exists():
                raise SourceError(f"no camera {self._device}: {_cameras_in_words()}")
            if not os.access(self._device, os.R_OK | os.W_OK):
                raise SourceError(
                    f"no permission to use {self._device}: add yourself to its group "
                    "(sudo usermod -aG video $USER, then log in again)"
                )
            capture = open_capture(self._device, cv2.CAP_V4L2)
            height, width = self._size
            for wish, value in (
                (cv2.CAP_PROP_FRAME_WIDTH, width),
                (cv2.CAP_PROP_FRAME_HEIGHT, height),
                (cv2.CAP_PROP_FPS, self._asked_rate_hz),
            ):
                if value:
                    capture.set(wish, value)
        if self._files and capture.isOpened():
            _ask_for_files(capture)
        ok, bgr = capture.read() if capture.isOpened() else (False, None)
        if not ok or bgr is None:
            capture.release()
            raise SourceError(
                f"camera {self._device} delivers no image: another program may be using it, or "
                "it is "
                f"not a capture device; {_cameras_in_words()}"
            )
        if self._files and _file_in(bgr) is None:
            # It delivers none: pixels, then.
            _ask_for_pixels(capture)
            ok, again = capture.read()
            bgr = again if ok and again is not None else bgr
        return capture, self._frame(bgr)

    def _frame(self, read: NDArray[Any]) -> SourceFrame:
        file = _file_in(read) if self._files else None
        return SourceFrame(bgr_to_rgb(read, self._size)) if file is None else FileFrame(file)

    def _read_on(self, capture: Any) -> None:
        while not self._stop.is_set():
            ok, bgr = capture.read()
            if ok and bgr is not None:
                self._keep(self._frame(bgr))
                continue
            capture.release()
            if self._stop.is_set():
                return
            log.warning("camera %s has vanished; looking for it again", self._device)
            again = self._reopen()
            if again is None:
                return
            capture = again
        capture.release()

    def _reopen(self) -> Any:
        """The camera, once it is back; None if the source was closed before."""
        while not self._stop.wait(self._retry_s):
            try:
                capture, image = self._open()
            except SourceError:
                continue
            self._keep(image)
            log.warning("camera %s is back", self._device)
            return capture
        return None

    def _keep(self, frame: SourceFrame) -> None:
        with self._lock:
            self._newest, self._fresh = frame, True

    def __iter__(self) -> Iterator[SourceFrame | None]:
        return self

    def __next__(self) -> SourceFrame | None:
        with self._lock:
            if not self._fresh:
                return None
            self._fresh = False
            return self._newest

    def close(self) -> None:
        """Release the camera."""
        self._stop.set()
        self._reader.join(timeout=2 * _TIMEOUT_MS / 1000)


def _ask_for_files(capture: Any) -> None:
    """Have a capture deliver what the camera sends, undecoded: a device as V4L2's MJPG."""
    import cv2

    if capture.getBackendName() == "V4L2":
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    else:
        capture.set(cv2.CAP_PROP_FORMAT, -1)


def _ask_for_pixels(capture: Any) -> None:
    """Take ``_ask_for_files`` back."""
    import cv2

    if capture.getBackendName() == "V4L2":
        capture.set(cv2.CAP_PROP_CONVERT_RGB, 1)
    else:
        capture.set(cv2.CAP_PROP_FORMAT, cv2.CV_8UC3)


def _file_in(read: NDArray[Any]) -> bytes | None:
    """The JPEG that a capture delivered in place of an image, if that is what it is."""
    if read.dtype != np.uint8 or min(read.shape[:2]) != 1:
        return None
    file = np.ascontiguousarray(read).reshape(-1)
    return None if camera_file_fault(file) else file.tobytes()


def _cameras_in_words() -> str:
    """The V4L2 devices, with their drivers' names for them."""
    found = []
    for path in sorted(Path("/dev").glob("video*")):
        name = Path("/sys/class/video4linux") / path.name / "name"
        found.append(f"{path} ({name.read_text().strip()})" if name.is_file() else str(path))
    if found:
        return "devices here are " + ", ".join(found)
    return "there is no /dev/video* on this machine (in a container, pass the device through)"
