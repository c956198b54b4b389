"""Of the answers for several edge servers the one to follow."""

from __future__ import annotations

import math
from typing import Any

from dapdee_ros.planning.answer import Answer, best_of
from dapdee_ros.planning.plan import Plan


def plan(latency_s: float, quality: float = 0.9, **more: Any) -> Answer:
    return Answer(
        Plan(1, latency_s=latency_s, expected_latency_s=latency_s, quality=quality, **more)
    )


def test_of_plans_in_time_quality_counts_first_and_then_what_is_minimised() -> None:
    good, quick, near = plan(0.2), plan(0.1, 0.8), plan(0.15, 0.89)
    assert best_of([quick, good, near]) is good
    assert best_of([quick, good, near], quality_tolerance=0.02) is near
    assert best_of([good, plan(0.2)]) is good  # the favourite, where they are equal
    late = plan(0.05, 0.95, late=True)
    assert best_of([late, quick]) is quick
    assert best_of([plan(0.2, math.nan), quick]) is quick


def test_a_favourite_may_be_a_little_worse() -> None:
    favourite, other, better = plan(0.104), plan(0.1), plan(0.095)
    assert best_of([favourite, other], favour=0.05) is favourite
    assert best_of([favourite, other], favour=0.03) is other
    assert best_of([favourite, other, better], favour=0.06) is other
    assert best_of([favourite, plan(0.2, 0.95)], favour=0.05) is not favourite


def test_if_none_is_in_time_the_lowest_latency_counts() -> None:
    later, sooner = plan(0.9, late=True), plan(0.5, 0.5, late=True)
    assert best_of([later, sooner]) is sooner


def test_an_answer_with_a_complaint_counts_only_if_all_have_one() -> None:
    sound, alone, none = plan(0.2), plan(0.1).plan, Answer(None, "broken, too")
    failed = Answer(alone, "the policy is broken")
    assert best_of([failed, sound]) is sound
    assert best_of([none, sound]) is sound
    assert best_of([failed, none]) is failed
