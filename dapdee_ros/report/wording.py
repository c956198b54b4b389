"""Formats numbers for display: with unit and significant digits."""

from __future__ import annotations

import math

NOTHING = "—"
"""Shown for a missing number."""


def number(value: float | None) -> str:
    """Three significant digits, but never fewer than before the decimal point."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def milliseconds(value_s: float | None) -> str:
    """A time in ms, without the unit."""
    return number(None if value_s is None else 1e3 * value_s)


def kilobytes(value_bytes: float | None) -> str:
    """A size in kB, without the unit."""
    return number(None if value_bytes is None else 1e-3 * value_bytes)


def percent(share: float | None) -> str:
    """A share in percent; tiny or nearly complete shares are not rounded to 0 or 100."""
    if share is None or not math.isfinite(share):
        return NOTHING
    if 0 < share < 0.0005:
        return "<0.1 %"
    return ">99.9 %" if 0.9995 <= share < 1 else f"{100 * share:.1f} %"
