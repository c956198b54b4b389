"""What a frame costs beside the network is found from what frames cost."""

from __future__ import annotations

import math
import random

import pytest

from dapdee_ros.estimation.overhead import OverheadFilter

FRAME_S, CROSSING_S, S_PER_BYTE = 0.004, 0.002, 3e-8


def cost_s(crossings: int, n_bytes: int) -> float:
    return FRAME_S + crossings * CROSSING_S + n_bytes * S_PER_BYTE


def fed(
    found: OverheadFilter, frames: int, rng: random.Random, begin_s: float = 0.0, scale: float = 1.0
) -> None:
    """Frames of changing plans, ten a second, each off by up to a tenth."""
    for number in range(frames):
        crossings = rng.randint(0, 1)
        n_bytes = crossings * rng.choice((3_000, 40_000, 150_000))
        seconds = scale * cost_s(crossings, n_bytes) * rng.uniform(0.9, 1.1)
        found.on_frame(begin_s + 0.1 * number, seconds, crossings, n_bytes)


def test_three_numbers_are_found_from_frames_of_several_plans() -> None:
    found = OverheadFilter()
    fed(found, 300, random.Random(1))
    frame_s, crossing_s, s_per_byte = found.value
    assert frame_s == pytest.approx(FRAME_S, rel=0.1)
    assert crossing_s == pytest.approx(CROSSING_S, rel=0.3)
    assert s_per_byte == pytest.approx(S_PER_BYTE, rel=0.15)


def test_it_begins_with_what_was_measured_alone_and_corrects_it() -> None:
    found = OverheadFilter((0.001, 0.0005, 1e-8))
    assert found.value == pytest.approx((0.001, 0.0005, 1e-8))
    # One plan only: the sum is right after a few frames, and every number rises.
    for number in range(20):
        found.on_frame(0.1 * number, cost_s(1, 40_000), 1, 40_000)
    assert found.seconds(1, 40_000) == pytest.approx(cost_s(1, 40_000), rel=0.1)
    assert all(now > before for now, before in zip(found.value, (0.001, 0.0005, 1e-8), strict=True))


def test_a_stall_changes_little_and_a_loaded_machine_is_followed() -> None:
    found = OverheadFilter()
    rng = random.Random(2)
    fed(found, 200, rng)
    before_s = found.seconds(1, 40_000)
    found.on_frame(20.1, 0.5, 1, 40_000)
    assert found.seconds(1, 40_000) < 1.5 * before_s
    fed(found, 30, rng, 20.2)
    assert found.seconds(1, 40_000) == pytest.approx(cost_s(1, 40_000), rel=0.15)
    # Something else takes two thirds of the machine from now on.
    fed(found, 30, rng, 23.3, scale=3.0)
    assert found.seconds(1, 40_000) == pytest.approx(3 * cost_s(1, 40_000), rel=0.15)
    assert found.seconds(0, 0) == pytest.approx(3 * cost_s(0, 0), rel=0.25)


@pytest.mark.parametrize("measured_s", [math.nan, math.inf, -math.inf, 1e9, -500.0])
def test_what_cannot_be_changes_nothing(measured_s: float) -> None:
    found = OverheadFilter((0.001, 0.001, 1e-8))
    found.on_frame(1.0, measured_s, 1, 1000)
    found.on_frame(1.0, 0.5, 1, -1)
    found.on_frame(1.0, 0.5, 1, 1 << 40)
    assert found.frames == 0
    assert found.value == pytest.approx((0.001, 0.001, 1e-8))


def test_however_frames_come_the_numbers_can_be_believed() -> None:
    rng = random.Random(3)
    for _ in range(50):
        found = OverheadFilter((rng.uniform(0, 0.1), 0.0, rng.uniform(0, 1e-6)))
        now_s = 0.0
        for _ in range(200):
            now_s += rng.choice((0.0, 0.01, 5.0, 1e4))
            measured_s = rng.choice((-1.0, 0.0, 1e-9, 0.01, 100.0)) * rng.random()
            n_bytes = rng.choice((0, 10, 10**6, 6 * 10**7))
            found.on_frame(now_s, measured_s, rng.randint(0, 1), n_bytes)
            assert all(0 <= value < 1e3 for value in found.value)


def test_what_sending_cost_once_is_forgotten_while_nothing_is_sent() -> None:
    found = OverheadFilter((0.004, 0.002, 3e-8))
    for number in range(10):
        found.on_frame(0.1 * number, 0.3, 1, 3_000)
    assert found.at(1.0)[1] > 0.05
    # The plan changed: frames stay on the car, and take what they took before.
    for number in range(200):
        found.on_frame(1.0 + 0.1 * number, 0.004, 0, 0)
    frame_s, crossing_s, s_per_byte = found.at(21.0)
    assert frame_s == pytest.approx(0.004, rel=0.2)
    assert crossing_s < 0.02
    assert s_per_byte < 1e-6
    assert found.at(1e9) == pytest.approx((0.004, 0.002, 3e-8))
