"""The camera image as a file that OpenCV writes and reads: the lossy codecs for the raw input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.codecs.plain import NO_VALUES
from dapdee_ros.codecs.tensor_spec import Bytes, CodecError, Coded


@dataclass(frozen=True)
class ImageFile:
    """One rgb image, uint8 ``(1, H, W, 3)``, as a file. Needs OpenCV when used.

    Attributes:
        name: the codec's name, also the file's suffix.
        quality_flag: OpenCV's name of the setting.
        quality: its value.
        longest_side: in pixels, what the format can hold.
        most_bytes: the longest file for a height and width, with noise and headers.
        declared_size: height and width that a file's header declares, read without decoding it,
            since a decoder allocates whatever the header asks for; None if it declares none.
        flags: more settings of OpenCV and their values, by their names.
        instead: writes the file, given rgb uint8 ``(H, W, 3)`` and the quality, where OpenCV is too
            old to know one of the flags.
    """

    name: str
    quality_flag: str
    quality: int
    longest_side: int
    most_bytes: Callable[[int, int], int]
    declared_size: Callable[[Bytes], tuple[int, int] | None]
    flags: tuple[tuple[str, str], ...] = ()
    instead: Callable[[NDArray, int], bytes] | None = None

    def accepts(self, shape: Sequence[int], dtype: str) -> bool:
        """True for one non-empty uint8 rgb image within the format's size."""
        return (
            dtype == "uint8"
            and len(shape) == 4
            and shape[0] == 1
            and shape[3] == 3
            and all(0 < side <= self.longest_side for side in shape[1:3])
        )

    def length_bounds(self, shape: Sequence[int], dtype: str) -> tuple[int, int]:
        """From one byte to the longest file of that size."""
        return 1, self.most_bytes(shape[1], shape[2])

    def scale_count(self, shape: Sequence[int], dtype: str) -> int:
        """None needed."""
        return 0

    def encode(self, values: NDArray) -> Coded:
        """Compress the image.

        Raises:
            CodecError: if OpenCV is not installed or cannot write such files.
        """
        cv2 = self._opencv()
        if self.instead is not None and not all(hasattr(cv2, flag) for flag, _ in self.flags):
            file = self.instead(values[0], self.quality)
            return Coded(memoryview(file), NO_VALUES, NO_VALUES)
        picture = cv2.cvtColor(values[0], cv2.COLOR_RGB2BGR)
        settings = [getattr(cv2, self.quality_flag), self.quality]
        for flag, value in self.flags:
            settings += [getattr(cv2, flag), getattr(cv2, value)]
        try:
            done, data = cv2.imencode(f".{self.name}", picture, settings)
        except cv2.error as error:
            raise CodecError(f"OpenCV cannot make a {self.name}: {error}") from error
        if not done:
            raise CodecError(f"OpenCV could not make a {self.name} of an image of {values.shape}")
        return Coded(data.reshape(-1).data, NO_VALUES, NO_VALUES)

    def decode(
        self,
        data: Bytes,
        scale: NDArray[np.float32],
        zero_point: NDArray[np.float32],
        shape: tuple[int, ...],
        dtype: str,
    ) -> NDArray:
        """Decompress the image if its header declares the expected size.

        Raises:
            CodecError: if it is not such a file of that size, or OpenCV is not installed.
        """
        found = self.declared_size(data)
        if found != tuple(shape[1:3]):
            raise CodecError(f"expected a {self.name} of {shape[1:3]}, its header says {found}")
        cv2 = self._opencv()
        try:
            image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error as error:
            raise CodecError(f"OpenCV refuses the {self.name}: {error}") from error
        if image is None or image.shape != tuple(shape[1:]):
            raise CodecError(f"the {self.name} is damaged")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)[None]

    def _opencv(self) -> ModuleType:
        try:
            import cv2
        except ImportError as error:
            raise CodecError(
                f"the {self.name} codec needs OpenCV (python3-opencv or opencv-python-headless), "
                "which is not installed"
            ) from error
        return cv2
