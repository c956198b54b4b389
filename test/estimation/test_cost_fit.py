"""Fixed and per-byte parts from measurements."""

from __future__ import annotations

import pytest

from dapdee_ros.estimation.cost_fit import Fit, fit


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
