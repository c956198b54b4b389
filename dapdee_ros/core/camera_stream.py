"""What passing the camera's own files on would cost, learned from the frames' results."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dapdee_ros.planning.codec_cost import TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile

_SMOOTHING = 0.1
_AGREEING = 3
"""Frames in a row that show that the camera has begun, or ceased, to deliver files."""

_NEWS_RATIO = 1.25
"""A size or time that has changed by this factor is worth other prices."""

_LEAST_NEWS_S = 5e-4
"""Decoding times that differ by less are the same."""

_PAUSE_S = 5.0
"""Least time between two changes of prices: with each the candidates are priced anew."""


@dataclass(frozen=True)
class CameraFiles:
    """The files of a camera.

    Attributes:
        file_bytes: their mean size.
        load_s: seconds that the car takes to make the network's input of one, as fast as the car
            is profiled.
    """

    file_bytes: float
    load_s: float

    def cost(self, car: DeviceProfile, edge: DeviceProfile) -> TensorCost:
        """What sending a file in place of the input costs, beside what every frame costs.

        The car is spared decoding, which is among what every frame costs it: encoding takes less
        than nothing. The edge server decodes instead, faster or slower by what the whole network
        takes on both.

        Args:
            car: the car's profile.
            edge: the edge server's.
        """
        ratio = edge.total_s / car.total_s if car.total_s > 0 else 1.0
        return TensorCost(self.file_bytes, -self.load_s, self.load_s * ratio)


class CameraStream:
    """Follows the camera's files.

    Attributes:
        files: as they were when they last changed enough to matter; None where no files come.

    >>> stream = CameraStream()
    >>> [stream.on_result(0.1 * k, 50_000, 0.004, 2.0) for k in range(3)]
    [False, False, True]
    >>> stream.files
    CameraFiles(file_bytes=50000.0, load_s=0.002)
    """

    def __init__(self) -> None:
        self.files: CameraFiles | None = None
        self._bytes = self._load_s = math.nan
        self._in_a_row = 0
        self._changed_s = -math.inf

    def on_result(
        self, now_s: float, source_bytes: int, load_s: float, car_slowdown: float
    ) -> bool:
        """A frame ended with a result.

        Args:
            now_s: when.
            source_bytes: size of its image's file, if it could be passed on; else 0.
            load_s: seconds that making the input takes the car now; 0 if not known.
            car_slowdown: the car's slowdown now.

        Returns:
            Whether ``files`` has changed.
        """
        comes = source_bytes > 0
        if comes is (self.files is not None):
            self._in_a_row = 0
        else:
            self._in_a_row += 1
        if comes:
            self._bytes = _smoothed(self._bytes, float(source_bytes))
        if load_s > 0 and car_slowdown > 0:
            self._load_s = _smoothed(self._load_s, load_s / car_slowdown)
        if self._in_a_row >= _AGREEING:
            if not comes:
                self._bytes = math.nan
            return self._change(now_s, comes)
        if not comes or self.files is None or now_s < self._changed_s + _PAUSE_S:
            return False
        old = self.files
        is_news = _differ(self._bytes, old.file_bytes) or (
            _differ(self._known_load_s, old.load_s)
            and abs(self._known_load_s - old.load_s) > _LEAST_NEWS_S
        )
        return is_news and self._change(now_s, comes)

    @property
    def _known_load_s(self) -> float:
        return 0.0 if math.isnan(self._load_s) else self._load_s

    def _change(self, now_s: float, comes: bool) -> bool:
        self._changed_s, self._in_a_row = now_s, 0
        self.files = CameraFiles(self._bytes, self._known_load_s) if comes else None
        return True


def _smoothed(old: float, new: float) -> float:
    return new if math.isnan(old) else old + _SMOOTHING * (new - old)


def _differ(a: float, b: float) -> bool:
    return not max(a, b) <= _NEWS_RATIO * min(a, b)
