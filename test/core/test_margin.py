import pytest

from dapdee_ros.core.margin import LearnedMargin

LEAST_S = 0.015
DEADLINE_S = 0.3


def after(overruns_s: list[float], every_s: float = 0.1) -> tuple[LearnedMargin, float]:
    margin, now_s = LearnedMargin(), 1000.0
    for overrun_s in overruns_s:
        now_s += every_s
        margin.on_finish(now_s, now_s - overrun_s)
    return margin, now_s


def test_without_experience_it_is_the_least() -> None:
    assert LearnedMargin().margin_s(5.0, LEAST_S, DEADLINE_S) == LEAST_S


def test_finishes_that_were_in_time_do_not_make_it_less() -> None:
    margin, now_s = after([-0.2, 0.0, 0.01])
    assert margin.margin_s(now_s, LEAST_S, DEADLINE_S) == LEAST_S


def test_a_few_are_judged_by_the_worst_and_many_by_all_but_one_in_two_hundred() -> None:
    margin, now_s = after([0.001] * 20 + [0.04])
    assert margin.margin_s(now_s, LEAST_S, DEADLINE_S) == pytest.approx(0.04)
    # Of 400 the two worst do not count.
    margin, now_s = after([0.02] * 398 + [0.09, 0.08])
    assert margin.margin_s(now_s, LEAST_S, DEADLINE_S) == pytest.approx(0.02)
    margin, now_s = after([0.02] * 396 + [0.03] * 2 + [0.09, 0.08])
    assert margin.margin_s(now_s, LEAST_S, DEADLINE_S) == pytest.approx(0.03)


def test_it_never_takes_more_than_a_third_of_the_deadline() -> None:
    margin, now_s = after([0.5] * 10)
    assert margin.margin_s(now_s, LEAST_S, DEADLINE_S) == pytest.approx(0.1)
    assert margin.margin_s(now_s, 0.2, DEADLINE_S) == 0.2


def test_what_was_long_ago_is_forgotten() -> None:
    margin, now_s = after([0.05] * 10)
    assert margin.margin_s(now_s + 60, LEAST_S, DEADLINE_S) == pytest.approx(0.05)
    assert margin.margin_s(now_s + 200, LEAST_S, DEADLINE_S) == LEAST_S
    margin, now_s = after([0.05] * 10 + [0.0] * 400)
    assert margin.margin_s(now_s, LEAST_S, DEADLINE_S) == LEAST_S
