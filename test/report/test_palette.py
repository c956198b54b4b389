"""Colours that can be seen on their paper, and stay the same from figure to figure."""

import re

import pytest

from dapdee_ros.report.palette import Palette

POLICIES = (
    "exact", "oracle", "dapdee", "dads", "neurosurgeon", "edgent", "eddi", "branchynet",
    "device-only", "edge-only", "edge-only-jpeg", "mine", "yours",
)  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def declared(palette: Palette, dark: bool) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):(#\w{6});", palette.css(dark)))


@pytest.mark.parametrize("dark", [False, True])
def test_everything_that_carries_meaning_stands_out_from_the_paper(dark: bool) -> None:
    colours = declared(Palette(POLICIES, 6), dark)
    for name, colour in colours.items():
        least = 7.0 if name == "ink" else 4.5 if name == "muted" else 3.0
        # Exits and the true link are areas with neighbours, rules are meant to be quiet.
        if not re.match("paper|rule|track|truth|exit-", name):
            assert contrast(colour, colours["paper"]) >= least, (name, colour)


def test_exits_grow_darker_with_depth_so_that_no_hue_is_needed() -> None:
    for dark in (False, True):
        colours = declared(Palette(exit_count=8), dark)
        shades = [luminance(colours[f"exit-{number}"]) for number in range(1, 9)]
        assert shades == sorted(shades, reverse=True)


def test_a_policy_keeps_its_colour_whatever_else_is_in_the_report() -> None:
    alone, many = Palette(["exact"]), Palette(POLICIES)
    assert alone.policy("exact") == many.policy("exact")
    assert alone.marker("exact") == many.marker("exact")
    assert len({many.policy(name) for name in POLICIES}) == len(POLICIES)
    assert len({many.marker(name) for name in POLICIES}) == len(POLICIES)


def test_a_page_gives_a_drawing_its_colours() -> None:
    palette = Palette(["exact"], 2)
    themed = palette.themed(
        f'<path style="fill:{palette.policy("exact").upper()};stroke:#123456"/>'
    )
    assert themed == '<path style="fill:var(--policy-0);stroke:#123456"/>'
    assert palette.themed(palette["ink"]) == "var(--ink)"


def test_what_is_unknown_is_drawn_muted() -> None:
    palette = Palette(exit_count=2)
    assert palette.exit(0) == palette.exit(3) == palette.place("moon") == palette["muted"]
