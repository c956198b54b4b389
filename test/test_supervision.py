"""When a process that died is started again, and when it is given up."""

from __future__ import annotations

import pytest

from dapdee_ros.supervision import Restarts, RestartSettings, Verdict

QUICK = RestartSettings(first_delay_s=0.1, most_delay_s=1.0, healthy_s=10.0, most_failures=7)


def deaths(restarts: Restarts, lives_s: list[float], status: int = -9) -> list[tuple[str, float]]:
    now_s, seen = 100.0, []
    for life_s in lives_s:
        restarts.on_start(now_s)
        now_s += life_s
        decision = restarts.on_end(now_s, status)
        seen.append((decision.verdict.value, decision.delay_s))
        now_s += decision.delay_s
    return seen


def test_each_quick_death_doubles_the_delay_up_to_a_bound_and_then_it_is_given_up() -> None:
    expected = [("restart", delay_s) for delay_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0)]
    assert deaths(Restarts(QUICK), [1.0] * 7) == [*expected, ("failed", 0.0)]


def test_a_healthy_life_forgets_the_deaths_before_it() -> None:
    lives_s = [1.0, 1.0, 10.0, 1.0, 60.0]
    assert [d for _, d in deaths(Restarts(QUICK), lives_s)] == [0.1, 0.2, 0.1, 0.2, 0.1]
    assert {v for v, _ in deaths(Restarts(QUICK), [20.0] * 100)} == {"restart"}


@pytest.mark.parametrize(("status", "verdict"), [(0, Verdict.ENDED), (2, Verdict.FAILED)])
def test_an_end_of_its_own_wish_and_a_wrong_parameter_are_final(
    status: int, verdict: Verdict
) -> None:
    restarts = Restarts()
    restarts.on_start(0.0)
    assert restarts.on_end(0.1, status).verdict is verdict


@pytest.mark.parametrize(("status", "words"), [(-9, "signal 9"), (1, "status 1")])
def test_the_reason_says_how_it_ended(status: int, words: str) -> None:
    restarts = Restarts()
    restarts.on_start(0.0)
    assert words in restarts.on_end(3.0, status).reason
