"""Fixed and per-byte parts from measurements."""

from __future__ import annotations

import time

import pytest

from dapdee_ros.estimation.cost_fit import Fit, fit, time_call


def test_a_line_through_measurements_has_no_negative_part() -> None:
    found = fit((1e3, 1e4, 1e5), (0.0011, 0.002, 0.011))
    assert found == pytest.approx((0.001, 1e-7))
    # Faster for more bytes, or free without any: noise.
    assert fit((1e3, 1e5), (0.002, 0.001)) == pytest.approx((0.0015, 0.0))
    through_zero = fit((1e3, 1e5), (1e-6, 0.01))
    assert through_zero.fixed_s == 0
    assert through_zero.s_per_byte == pytest.approx(1e-7, rel=0.01)
    # Measured as a difference it may be below 0.
    assert fit((1e3, 1e5), (-1e-4, -1e-3)) == (0.0, 0.0)
    assert fit((5e3, 5e3), (0.001, 0.003)) == pytest.approx((0.002, 0.0))
    assert Fit(0.001, 1e-8) + Fit(0.002, 2e-8) == pytest.approx((0.003, 3e-8))


def test_calls_are_timed_within_their_budget() -> None:
    began_s = time.perf_counter()
    assert 0.002 <= time_call(lambda: time.sleep(0.002), 0.05) < 0.02
    assert time.perf_counter() - began_s < 0.5
    assert time_call(lambda: time.sleep(0.03), 0.0) >= 0.03


def test_calls_of_a_processor_on_a_quota_take_their_share_of_its_pauses() -> None:
    # Works for 1 ms of every 10: each call is short, but a hundred of them take ten times as long.
    state = {"worked_s": 0.0}

    def call() -> None:
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < 1e-4:
            pass
        state["worked_s"] += 1e-4
        if state["worked_s"] >= 1e-3:
            state["worked_s"] = 0.0
            time.sleep(0.009)

    assert time_call(call, 0.1) > 5e-4
