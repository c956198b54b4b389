"""What the system clock's stamps mean while it is set under our feet."""

from __future__ import annotations

import time

import pytest

from dapdee_ros.runtime.system_clock import SystemClock, both_clocks_ns

MS = 1_000_000
SECOND = 1000 * MS


def test_a_stamp_says_when_a_message_arrived() -> None:
    clock = SystemClock()
    steady, system = both_clocks_ns()
    arrived_s = clock.translated_s(system - 30 * MS, steady, system)
    assert arrived_s == pytest.approx(steady / 1e9 - 0.03, abs=1e-6)
    assert not clock.was_set()


@pytest.mark.parametrize("stamp_ns", [0, 1, 10**19])
def test_a_stamp_that_cannot_be_is_now(stamp_ns: int) -> None:
    steady, system = both_clocks_ns()
    assert SystemClock().translated_s(stamp_ns, steady, system) == steady / 1e9


@pytest.mark.parametrize("step_s", [-600.0, -0.5, -0.004, 0.004, 0.5, 9.0, 600.0])
def test_no_step_of_the_clock_becomes_a_time_of_transfer(step_s: float) -> None:
    clock = SystemClock()
    start, system = both_clocks_ns()
    step = round(step_s * SECOND)
    # Three messages arrive before the step and wait until after it, 20 ms in all.
    stamps = [system - 10 * MS + 2 * MS * n for n in range(3)]
    for n, stamp in enumerate(stamps):
        steady = start + 10 * MS + n * MS
        arrived_s = clock.translated_s(stamp, steady, system + (steady - start) + step)
        truth_s = start / 1e9 - 0.010 + 0.002 * n
        assert truth_s - 1e-6 <= arrived_s <= steady / 1e9
    # What arrives and waits after it is timed again.
    steady = start + 60 * MS
    now = system + 60 * MS + step
    assert clock.translated_s(now - 30 * MS, steady, now) == pytest.approx(
        steady / 1e9 - 0.03, abs=1e-6
    )


def test_slewing_is_not_setting() -> None:
    clock = SystemClock()
    steady, system = both_clocks_ns()
    for n in range(1, 1000):
        # NTP's quickest, 500 ppm, looked at ten times a second.
        steady, system = steady + 100 * MS, system + 100 * MS + 50_000
        arrived_s = clock.translated_s(system - 30 * MS, steady, system)
        assert arrived_s == pytest.approx(steady / 1e9 - 0.03, abs=1e-4), n


def test_that_it_was_set_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 600 * SECOND)
    assert clock.was_set()
    assert clock.set_s == pytest.approx(time.monotonic(), abs=0.5)
    assert not clock.was_set()
