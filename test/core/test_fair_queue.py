"""The queue before a shared server: shares, deadlines, bounds, and cars that do their worst."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.fair_queue import FairQueue, QueueBounds, ShareError, Why, read_shares

DRAWN_COST = st.sampled_from([0.0, 0.01, 0.5, math.nan, math.inf, -1.0])


def served_s(
    shares: Mapping[str, float],
    takes_s: Callable[[str, int], float],
    *,
    frames: int = 1,
    until_s: float = 60.0,
) -> dict[str, float]:
    """Seconds that each car had of a server on which all keep as much waiting as they may."""
    queue = FairQueue[int](QueueBounds(frames=frames), shares)
    had = dict.fromkeys(shares, 0.0)
    now_s, number = 0.0, 0
    while now_s < until_s:
        for car in shares:
            for _ in range(frames + 1):  # one more than it holds
                number += 1
                queue.put(car, number, cost_s=0.02, deadline_s=now_s + 1.0)
        taken = queue.take()
        assert taken is not None
        spent_s = takes_s(taken.car, number)
        queue.charge(taken, spent_s)
        had[taken.car] += spent_s
        now_s += spent_s
    return had


@pytest.mark.parametrize("frames", [1, 4])
@pytest.mark.parametrize(
    "shares",
    [
        {"a": 1.0, "b": 1.0},
        {"a": 2.0, "b": 1.0, "c": 1.0},
        {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0},
        {"a": 0.05, "b": 1.0},
    ],
)
def test_under_overload_every_car_has_its_share_of_seconds(
    shares: dict[str, float], frames: int
) -> None:
    # A car's frames take 10 to 80 ms, a's three times as long as the others'; all are predicted to
    # take 20 ms.
    def takes_s(car: str, number: int) -> float:
        return (3 if car == "a" else 1) * 0.01 * (1 + number % 3)

    had = served_s(shares, takes_s, frames=frames, until_s=120.0)
    for car, share in shares.items():
        expected = share / sum(shares.values())
        assert had[car] / sum(had.values()) == pytest.approx(expected, rel=0.1), had


def test_what_a_car_leaves_the_others_use_and_it_is_owed_nothing_for_it() -> None:
    queue = FairQueue[str]()
    for turn in range(50):  # b is away
        queue.put("a", f"a{turn}")
        queue.put("a", f"a{turn}'")
        taken = queue.take()
        assert taken is not None and taken.car == "a"
        queue.charge(taken, 0.1)
    order = ""
    for _ in range(10):
        queue.put("b", "b")
        queue.put("a", "a")
        taken = queue.take()
        assert taken is not None
        order += taken.car
        queue.charge(taken, 0.1)
    assert order in ("ab" * 5, "ba" * 5)


def test_a_car_that_leaves_is_forgotten() -> None:
    queue = FairQueue[int](QueueBounds(cars=4))
    queue.put("stays", 0)
    for number in range(1000):
        queue.put(f"passes{number}", number)
        for _ in range(2):
            queue.put("stays", number)
            taken = queue.take()
            assert taken is not None
            queue.charge(taken, 0.1)
        assert len(queue._cars) <= 3 * 4
    while (taken := queue.take()) is not None:
        queue.charge(taken, 0.1)
    assert not queue._cars


def test_earliest_deadline_first_within_a_car_and_first_come_among_equals() -> None:
    queue = FairQueue[str](QueueBounds(frames=6))
    for name, deadline_s in [
        ("late", 9.0),
        ("never", math.nan),
        ("soon", 1.0),
        ("also late", 9.0),
        ("over", -5.0),
        ("whenever", math.inf),
    ]:
        assert queue.put("car", name, deadline_s=deadline_s) == []
    order = []
    while (taken := queue.take()) is not None:
        order.append(taken.item)
    assert order == ["over", "soon", "late", "also late", "never", "whenever"]


def test_deadlines_of_one_car_do_not_count_against_another() -> None:
    queue = FairQueue[str](QueueBounds(frames=3))
    for number in range(3):
        queue.put("urgent", f"u{number}", deadline_s=0.001)
        queue.put("calm", f"c{number}")
    order = []
    while (taken := queue.take()) is not None:
        order.append(taken.item)
        queue.charge(taken, 0.1)
    assert order == ["u0", "c0", "u1", "c1", "u2", "c2"]


def test_a_full_queue_gives_its_oldest_frame_away_and_nobody_elses() -> None:
    queue = FairQueue[str](QueueBounds(frames=2))
    queue.put("quiet", "q")
    out = []
    for number in range(100):
        out += queue.put("flood", f"f{number}", deadline_s=-number)
    assert [(w.item, why) for w, why in out] == [(f"f{n}", Why.NEWER) for n in range(98)]
    assert len(queue) == 3
    first = queue.take()
    assert first is not None and first.item == "q"


def test_bytes_are_bounded_and_only_a_car_with_more_than_its_part_makes_way() -> None:
    queue = FairQueue[str](QueueBounds(frames=100, size_bytes=1000), {"big": 2.0})
    assert queue.put("small", "s0", size_bytes=300) == []
    out = []
    for number in range(50):
        out += queue.put("big", f"b{number}", size_bytes=100)
        assert queue.size_bytes <= 1000
    # Its share allows it twice the other's, what that leaves it may have as well, no more.
    assert {w.car for w, _ in out} == {"big"} and {why for _, why in out} == {Why.BYTES}
    assert queue.size_bytes == 1000
    # The other one asks for more of its part: it gets it from the one that has more than its own.
    assert [w.car for w, _ in queue.put("small", "s1", size_bytes=30)] == ["big"]
    # One frame too large for everything is refused itself, and takes nobody's place.
    ((refused, why),) = queue.put("third", "huge", size_bytes=5000)
    assert (refused.item, why) == ("huge", Why.BYTES)
    assert queue.size_bytes <= 1000 and {w.car for w in queue} == {"small", "big"}


def test_more_cars_than_may_wait_are_refused_at_once() -> None:
    queue = FairQueue[int](QueueBounds(cars=2))
    assert queue.put("a", 1) == queue.put("b", 2) == []
    ((refused, why),) = queue.put("c", 3)
    assert (refused.item, why) == (3, Why.CARS)
    assert queue.put("a", 4) == []


@pytest.mark.parametrize("share", [0.0, -1.0, math.nan, math.inf, 1e9, 1e-9])
def test_a_share_that_makes_no_sense_is_named(share: float) -> None:
    with pytest.raises(ShareError, match=r"the share of 'car1' is .*expected a number from 0\.01"):
        FairQueue[int](shares={"car2": 1.0, "car1": share})
    queue = FairQueue[int](shares={"car1": 3.0})
    with pytest.raises(ShareError):
        queue.set_shares({"car1": share})
    assert queue.share_of("car1") == 3.0


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["car1"], "'car1' is not of the form car1=2"),
        (["=2"], "'=2' is not of the form"),
        (["car1=much"], "not of the form"),
        (["car1=nan"], "not of the form"),
        (["car1=1", "/car1=2"], "'car1' has two shares"),
    ],
)
def test_texts_that_are_no_shares_are_named(texts: list[str], words: str) -> None:
    with pytest.raises(ShareError, match=words):
        read_shares(texts)


def test_shares_that_change_hold_from_then_on() -> None:
    queue = FairQueue[int]()
    had = Counter[str]()
    for turn in range(800):
        if turn == 400:
            queue.set_shares({"a": 3.0})
            had.clear()
        queue.put("a", turn)
        queue.put("b", turn)
        taken = queue.take()
        assert taken is not None
        had[taken.car] += 1
        queue.charge(taken, 0.1)
    assert had["a"] == pytest.approx(300, rel=0.1)


@pytest.mark.parametrize("jump_s", [1e9, -1e9, math.nan, math.inf])
def test_a_clock_that_jumps_starves_nobody(jump_s: float) -> None:
    queue = FairQueue[int]()
    lately = Counter[str]()
    for turn in range(400):
        queue.put("a", turn, cost_s=0.1)
        queue.put("b", turn, cost_s=0.1)
        taken = queue.take()
        assert taken is not None
        queue.charge(taken, jump_s if turn == 100 else 0.1)
        if turn >= 200:
            lately[taken.car] += 1
    assert lately["a"] == pytest.approx(100, abs=10), lately


def test_cars_with_one_id_have_one_queue_and_equal_frames_are_kept_apart() -> None:
    queue = FairQueue[str](QueueBounds(frames=4))
    for _ in range(3):
        queue.put("car", "same")
    taken = [queue.take() for _ in range(4)]
    assert [w.item if w else None for w in taken] == ["same", "same", "same", None]


def test_what_comes_before_a_frame_is_foreseen() -> None:
    queue = FairQueue[str](QueueBounds(frames=4), {"heavy": 4.0})
    for number in range(4):
        queue.put("heavy", f"h{number}", cost_s=0.1)
        queue.put("other", f"o{number}", cost_s=0.1, deadline_s=5.0)
    # Tags: heavy's are 0.025 apart, other's 0.1; a new car's frame is due at once.
    assert queue.ahead_s("new", math.inf) == pytest.approx(0.2)
    # Behind the other three of its car (one is displaced), and all of heavy's.
    assert queue.ahead_s("other", 9.0) == pytest.approx(0.7)
    # Before those that are due later: like the first of its car.
    assert queue.ahead_s("other", 1.0) == pytest.approx(0.1)


def test_what_waits_until_it_is_ready_earns_no_credit() -> None:
    queue = FairQueue[str](QueueBounds(frames=2))
    queue.put("waits", "w0")
    queue.put("waits", "w1")
    for turn in range(20):
        queue.put("goes", f"g{turn}")
        queue.put("goes", f"g{turn}'")
        taken = queue.take(lambda item: item[0] == "g")
        assert taken is not None and taken.car == "goes"
        queue.charge(taken, 0.1)
    queue.ready_again(lambda item: item[0] == "w")
    order = ""
    for turn in range(4):
        queue.put("goes", f"h{turn}")
        taken = queue.take()
        assert taken is not None
        order += taken.item[0]
        queue.charge(taken, 0.1)
    assert order in ("whwh", "hwhw")


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("put"),
                st.integers(0, 6),
                DRAWN_COST,
                st.floats(allow_nan=True, allow_infinity=True),
                st.integers(-5, 400),
            ),
            st.tuples(st.just("take"), DRAWN_COST),
            st.tuples(st.just("back")),
        ),
        max_size=100,
    )
)
def test_whatever_comes_every_frame_leaves_once_and_the_bounds_hold(steps: list[tuple]) -> None:
    bounds = QueueBounds(frames=3, size_bytes=1000, cars=4)
    queue = FairQueue[int](bounds, {"car0": 100.0, "car1": 0.01})
    put, left = 0, Counter[int]()
    for what, *values in steps:
        if what == "put":
            car, cost_s, deadline_s, size_bytes = values
            put += 1
            out = queue.put(
                f"car{car}", put, cost_s=cost_s, deadline_s=deadline_s, size_bytes=size_bytes
            )
            left.update(w.item for w, _ in out)
            assert queue.ahead_s(f"car{car}", deadline_s) >= 0
        elif (taken := queue.take()) is not None:
            if what == "take":
                queue.charge(taken, *values)
                left[taken.item] += 1
            else:
                assert queue.put_back(taken)
        of_car = Counter(w.car for w in queue)
        assert len(queue) == of_car.total() == put - left.total()
        assert queue.size_bytes == sum(w.size_bytes for w in queue) <= bounds.size_bytes
        assert len(of_car) <= bounds.cars and max(of_car.values(), default=0) <= bounds.frames
    left.update(w.item for w in queue.drain())
    assert sorted(left) == list(range(1, put + 1)) and set(left.values()) <= {1}
    assert len(queue) == 0 and queue.size_bytes == 0
