"""The edge's parameter for the cars' shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (["car1=0"], "the share of 'car1' is 0.0; expected a number from 0.01"),
        (["car1"], "is not of the form car1=2"),
        (["car9=2"], "names 'car9', which is none of the cars"),
    ],
)
def test_shares_that_make_no_sense_are_named(ros: RosWorld, shares: list[str], words: str) -> None:
    edge = ros.start("edge", {"cars": ["car1", "car2"], "shares": shares})
    assert edge.wait(30.0) == 2
    assert words in edge.output()
