"""Whether a camera delivers files, how large they are, and what decoding them takes the car."""

from __future__ import annotations

import math
from typing import Any

from simulation.small_world import PLANNING, problem

from dapdee_ros.core.camera_stream import CameraFiles, CameraStream
from dapdee_ros.core.frames import Place
from dapdee_ros.core.manager import ManagerCore
from dapdee_ros.core.manager_events import CameraChanged, ProblemChanged, ResultCame, TellPlan
from dapdee_ros.planning.policy import make_policy


def fed(stream: CameraStream, sizes: list[int], load_s: float = 0.004, begin_s: float = 0.0) -> int:
    """How often it changed over frames of these sizes, 10 a second."""
    return sum(
        stream.on_result(begin_s + 0.1 * k, size, load_s, 1.0) for k, size in enumerate(sizes)
    )


def test_files_come_and_cease() -> None:
    stream = CameraStream()
    assert fed(stream, [0] * 50) == 0 and stream.files is None
    assert fed(stream, [40_000] * 50, begin_s=5.0) == 1
    assert stream.files == CameraFiles(40_000, 0.004)
    # One frame of another kind says nothing.
    assert fed(stream, [0, 40_000, 0, 0, 40_000], begin_s=10.0) == 0
    assert fed(stream, [0] * 5, begin_s=11.0) == 1 and stream.files is None


def test_sizes_that_change_a_little_change_nothing_and_seldom_otherwise() -> None:
    stream = CameraStream()
    fed(stream, [40_000] * 10)
    assert fed(stream, [38_000, 42_000] * 100, begin_s=1.0) == 0
    changes = fed(stream, [120_000] * 100, begin_s=30.0)
    assert 1 <= changes <= 2
    assert stream.files is not None and stream.files.file_bytes > 80_000
    assert fed(stream, [10_000, 400_000] * 50, begin_s=60.0) <= 3  # once in 5 s at most


def test_decoding_counts_as_fast_as_the_car_is_profiled() -> None:
    stream = CameraStream()
    for k in range(3):
        stream.on_result(0.1 * k, 40_000, 0.030, 3.0)
    assert stream.files is not None and math.isclose(stream.files.load_s, 0.01)


def test_it_may_never_have_been_measured() -> None:
    stream = CameraStream()
    fed(stream, [40_000] * 3, load_s=0.0)
    assert stream.files == CameraFiles(40_000, 0.0)


def result(source_bytes: int) -> ResultCame:
    values: dict[str, Any] = {"latency_s": 0.2, "head_s": 0.2, "transfer_s": 0.0}
    return ResultCame(
        1, Place.CAR, 2, **values, car_slowdown=1.0, edge_slowdown=math.nan,
        source_bytes=source_bytes, load_s=0.01,
    )  # fmt: skip


def test_the_manager_asks_for_other_prices_and_says_why_it_plans_anew() -> None:
    planned = problem()
    manager = ManagerCore(PLANNING, planned)
    actions = [action for k in range(9) for action in manager.handle(0.1 * k, result(50_000))]
    (changed,) = (a for a in actions if isinstance(a, CameraChanged))
    assert changed.files == CameraFiles(50_000, 0.01)
    again = ProblemChanged(planned, make_policy("exact", planned), "the camera delivers JPEGs")
    (told,) = (a for a in manager.handle(1.0, again) if isinstance(a, TellPlan))
    assert told.why.startswith("the camera delivers JPEGs; ")
