import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from dapdee_ros.core.frames import FramePlan
from dapdee_ros.core.pace import Pace


@dataclass
class Program:
    """The two prices that Pace looks at."""

    head_profiled_s: float
    plan: FramePlan = field(default_factory=lambda: FramePlan(1, 3))
    finish_profiled_s: dict[int, float] = field(default_factory=dict)


ALONE = [Program(0.02), Program(0.05), Program(0.2)]
FINISH = {1: 0.01, 2: 0.04, 3: 0.2}


def at_10_hz() -> Pace:
    pace = Pace()
    for number in range(5):
        pace.on_frame(0.1 * number)
    return pace


def test_follows_interval_and_slowdown() -> None:
    pace = Pace()
    pace.on_frame(1.0)
    assert math.isinf(pace.interval_s)
    pace.on_frame(1.1)
    assert pace.interval_s == pytest.approx(0.1)
    for number in range(40):
        pace.on_frame(1.1 + 0.05 * (number + 1))
        assert pace.on_computed(0.3, 0.1) == pytest.approx(3.0)
    assert pace.interval_s == pytest.approx(0.05, rel=0.01)
    assert pace.seconds(0.1) == pytest.approx(0.3, rel=0.01)


def test_what_a_single_pause_outweighs_says_nothing_of_the_slowdown() -> None:
    pace = Pace()
    pace.overhead_s = 0.015
    # Handing on an image takes 1 ms, and 30 where the processor was somebody else's meanwhile.
    for _ in range(40):
        assert math.isnan(pace.on_computed(0.030, 0.001))
    assert pace.seconds(0.034) == pytest.approx(0.034)
    for _ in range(40):
        assert pace.on_computed(0.068, 0.034) == pytest.approx(2.0)
    assert pace.seconds(0.001) == pytest.approx(0.002, rel=0.01)


def test_without_a_profile_nothing_is_known_and_nothing_breaks() -> None:
    pace = Pace()
    assert math.isnan(pace.on_computed(0.3, math.nan))
    assert pace.slowdown == 1.0
    assert pace.seconds(math.nan) == 0.0


def test_alone_the_car_takes_the_deepest_exit_that_keeps_up() -> None:
    programs: list = ALONE
    assert at_10_hz().deepest_alone(programs, 0.3, 0.01) is programs[1]
    assert at_10_hz().deepest_alone(programs, 0.04, 0.01) is programs[0]
    # An unknown rate: three frames a deadline.
    assert Pace().deepest_alone(programs, 0.9, 0.01) is programs[2]
    assert Pace().deepest_alone(programs, 0.03, 0.01) is programs[0]


def test_a_full_window_is_no_obstacle_to_a_car_that_keeps_up() -> None:
    quick: object = Program(0.01, finish_profiled_s={3: 0.05})
    slow: object = Program(0.01, finish_profiled_s={3: 0.15})
    assert at_10_hz().wait_for_window_s(quick, 0.3, 0.01) == 0.0  # type: ignore[arg-type]
    assert at_10_hz().wait_for_window_s(slow, 0.3, 0.01) == pytest.approx(0.13)  # type: ignore[arg-type]


def test_a_car_that_keeps_up_at_a_shallower_exit_waits_as_long_as_it_then_does() -> None:
    slow: Any = Program(0.01, finish_profiled_s={1: 0.02, 3: 0.15})

    def waits(deadline_s: float, narrowed: bool = True) -> float:
        return at_10_hz().wait_for_window_s(slow, deadline_s, 0.01, narrowed=narrowed)

    assert waits(0.3) == pytest.approx(0.07)
    # No longer than until the planned exit just fits, or not at all where it does not fit.
    assert waits(0.2) == pytest.approx(0.03)
    assert waits(0.1) == 0.0
    # A window that is as wide as the plan has it is full now and then.
    assert waits(0.4, narrowed=False) == pytest.approx(0.23)
    assert waits(0.3, narrowed=False) == pytest.approx(0.15)


def test_a_frame_that_the_car_could_not_finish_in_time_waits_for_a_newer_one() -> None:
    slow: object = Program(0.01, finish_profiled_s={1: 0.1, 3: 0.4})
    assert at_10_hz().wait_for_window_s(slow, 0.3, 0.01) == pytest.approx(0.15)  # type: ignore[arg-type]
    # Not so long that its quickest exit would be late.
    assert at_10_hz().wait_for_window_s(slow, 0.2, 0.01) == pytest.approx(0.08)  # type: ignore[arg-type]
    assert at_10_hz().wait_for_window_s(slow, 0.1, 0.01) == 0.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("left_s", "others", "exit_number"),
    [(0.3, 0, 2), (0.3, 1, 2), (0.3, 4, 1), (0.03, 0, 1), (-1.0, 0, 1)],
)
def test_a_fallback_takes_its_share_of_the_car(
    left_s: float, others: int, exit_number: int
) -> None:
    assert at_10_hz().fallback_exit(FINISH, left_s, others) == exit_number


def test_a_single_frame_has_the_car_to_itself() -> None:
    assert Pace().fallback_exit(FINISH, 0.3, 0) == 3
