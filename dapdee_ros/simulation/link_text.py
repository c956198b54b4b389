"""Read a link as people write it: ``4g``, ``drive:seed=7``, ``steps:5.85@0,0@20``, a file."""

from __future__ import annotations

import math
import re
from pathlib import Path

from dapdee_ros.simulation.drive import drive_link
from dapdee_ros.simulation.link_trace import (
    FIXED_RATES_BPS,
    LinkTrace,
    LinkTraceError,
    fixed_link,
    read_mahimahi,
    step_link,
)

LINK_TEXT_HELP = (
    "one of " + ", ".join(FIXED_RATES_BPS) + "; a rate such as 8.5mbit or 300kbit; drive or "
    "drive:seed=7 (a synthetic drive with handovers and a tunnel); steps:5.85@0,1.1@10,0@20 in "
    "Mbit/s at seconds, with loop@30 at the end to start over; or a file in Mahimahi's format"
)
"""What ``parse_link`` understands, for help texts and parameter descriptions."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)(k|m|g)bit(?:/s)?", re.ASCII)
_UNIT_BPS = {"k": 1e3, "m": 1e6, "g": 1e9}


def parse_link(text: str) -> LinkTrace:
    """Turn a link's description into a trace; ``LINK_TEXT_HELP`` lists the forms.

    Raises:
        LinkTraceError: if the text is none of them, or the file it names is unreadable or corrupt.

    >>> parse_link("steps:5.85@0,0@20").rate_bps(21.0)
    0.0
    """
    text = text.strip()
    word = text.lower()
    if word in FIXED_RATES_BPS:
        return fixed_link(FIXED_RATES_BPS[word], word)
    if rate := _RATE.fullmatch(word):
        return fixed_link(float(rate[1]) * _UNIT_BPS[rate[2]], word)
    if word == "drive":
        return drive_link()
    if word.startswith("drive:"):
        seed = re.fullmatch(r"drive:seed=(\d{1,18})", word, re.ASCII)
        if not seed:
            raise LinkTraceError(f"expected drive or drive:seed=<whole number>, got {text!r}")
        return drive_link(int(seed[1]))
    if word.startswith("steps:"):
        return _parse_steps(word)
    if Path(text).is_file():
        return read_mahimahi(text)
    raise LinkTraceError(f"{text!r} is no link and no file; expected {LINK_TEXT_HELP}")


def _parse_steps(text: str) -> LinkTrace:
    steps: list[tuple[float, float]] = []
    period_s = math.inf
    for part in text.removeprefix("steps:").split(","):
        value, at, when = part.strip().partition("@")
        try:
            at_s = float(when)
            rate_bps = None if value == "loop" else float(value) * 1e6
        except ValueError:
            at = ""
        if not at or math.isfinite(period_s):
            raise LinkTraceError(
                f"in {text!r}: expected <Mbit/s>@<second> (loop@<second> only as the last), "
                f"got {part!r}"
            )
        if rate_bps is None:
            period_s = at_s
        else:
            steps.append((at_s, rate_bps))
    if not steps:
        raise LinkTraceError(f"{text!r} has no step; give at least <Mbit/s>@0")
    return step_link(steps, period_s, text)
