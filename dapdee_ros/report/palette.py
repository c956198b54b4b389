"""Colours per policy, finishing site and exit, the same in every figure, in light and dark mode."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# The hues that are easiest to distinguish with any colour vision come first (after Okabe and Ito
# 2008, and Tol 2021), darkened for light and lightened for dark backgrounds. Colour is never the
# only difference: each policy has its own marker, and bars are labelled.
_POLICIES = {
    "exact": ("#0072b2", "#5cb8f0"),
    "oracle": ("#2f3338", "#f2f2f0"),
    "dapdee": ("#d55e00", "#ff9142"),
    "dads": ("#00896a", "#35cf9f"),
    "neurosurgeon": ("#b8578f", "#f09acb"),
    "edgent": ("#882255", "#d9739f"),
    "eddi": ("#7d7d1c", "#cfcf55"),
    "branchynet": ("#332288", "#a89bff"),
    "device-only": ("#70757d", "#a7adb5"),
    "edge-only": ("#2288a3", "#7fdcf2"),
    "edge-only-jpeg": ("#8a5a2b", "#d3a06c"),
}
EMPHASISED = "exact"
"""The policy that stands first, and is drawn more strongly."""
_OTHER_POLICIES = (
    ("#c23b4e", "#ff8a96"),
    ("#117733", "#6fcf8a"),
    ("#6b4fa0", "#c0a5f0"),
    ("#a67300", "#ffcc4d"),
)
_MARKERS = "osD^vPX<>phd8*H"
_PLACES = {
    "edge": ("#3567b0", "#7aaef5"),
    "car": ("#2f8a57", "#72d09a"),
    "fallback": ("#c2412d", "#ff8f78"),
}
_FURNITURE = {
    "ink": ("#1b1e22", "#eceef0"),
    "muted": ("#5d646d", "#a9b0b8"),
    "rule": ("#c9ced4", "#444a52"),
    "track": ("#eceff2", "#2a2f36"),
    "paper": ("#ffffff", "#16191d"),
    "alarm": ("#b3261e", "#ff7a6e"),
    "truth": ("#b9bfc7", "#69717b"),
}
# From yellow via green to blue with monotonic lightness, so distinguishable without hue.
_EXITS = (
    ((226, 190, 60), (56, 150, 138), (22, 58, 118)),
    ((250, 232, 150), (74, 190, 172), (64, 118, 204)),
)


@dataclass(frozen=True)
class Shade:
    """One colour.

    Attributes:
        name: its name as a CSS variable, without the dashes.
        light: hex on a light background.
        dark: hex on a dark background.
    """

    name: str
    light: str
    dark: str


class Palette:
    """The colours of one report.

    Args:
        policies: base names of all policies in it.
        exit_count: deepest exit in it.
    """

    def __init__(self, policies: Iterable[str] = (), exit_count: int = 0) -> None:
        self._shades: dict[str, Shade] = {}
        for name, (light, dark) in (_FURNITURE | _PLACES).items():
            self._add(name, light, dark)
        names = sorted(set(policies))
        others = itertools.cycle(_OTHER_POLICIES)
        self._policies: dict[str, Shade] = {}
        self._markers: dict[str, str] = {}
        known = list(_POLICIES)
        unknown = iter(itertools.count(len(known)))
        for number, name in enumerate(names):
            light, dark = _POLICIES[name] if name in _POLICIES else next(others)
            self._policies[name] = self._add(f"policy-{number}", light, dark)
            position = known.index(name) if name in _POLICIES else next(unknown)
            self._markers[name] = _MARKERS[position % len(_MARKERS)]
        self._exits = [
            self._add(f"exit-{number + 1}", *(_mixed(number, exit_count, side) for side in (0, 1)))
            for number in range(exit_count)
        ]

    def _add(self, name: str, light: str, dark: str) -> Shade:
        shade = self._shades[name] = Shade(name, light, dark)
        return shade

    def __getitem__(self, name: str) -> str:
        """Hex of ``ink``, ``muted``, ``rule``, ``track``, ``paper``, ``alarm``, ``truth``."""
        return self._shades[name].light

    def policy(self, base_policy: str) -> str:
        """Hex of a policy."""
        return self._policies[base_policy].light

    def marker(self, base_policy: str) -> str:
        """Matplotlib's marker of a policy."""
        return self._markers[base_policy]

    def place(self, place: str) -> str:
        """Hex of ``car``, ``edge``, ``fallback``; that of muted text for any other."""
        return self[place if place in _PLACES else "muted"]

    def exit(self, number: int) -> str:
        """Hex of an exit; that of muted text for one that the model does not have."""
        return self._exits[number - 1].light if 1 <= number <= len(self._exits) else self["muted"]

    def css(self, dark: bool) -> str:
        """All colours as declarations of CSS variables."""
        return "".join(f"--{s.name}:{s.dark if dark else s.light};" for s in self._shades.values())

    def themed(self, svg: str) -> str:
        """The same drawing with its colours as CSS variables of the page around it."""
        names: Mapping[str, str] = {s.light: s.name for s in self._shades.values()}
        return re.sub(
            "|".join(names),
            lambda m: f"var(--{names[m.group().lower()]})",
            svg,
            flags=re.IGNORECASE,
        )


def _mixed(number: int, count: int, side: int) -> str:
    """Colour of one exit, between the two stops next to it."""
    stops = _EXITS[side]
    at = number / (count - 1) * (len(stops) - 1) if count > 1 else len(stops) - 1.0
    first = min(int(at), len(stops) - 2)
    pairs = zip(stops[first], stops[first + 1], strict=True)
    return "#" + "".join(f"{round(a + (at - first) * (b - a)):02x}" for a, b in pairs)
