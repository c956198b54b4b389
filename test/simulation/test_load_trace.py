"""Loads over time, as people write them."""

import pytest

from dapdee_ros.simulation.load_trace import LoadTraceError, parse_load


def test_a_number_holds_and_steps_change() -> None:
    assert parse_load("1.5").at(1e6) == 1.5
    load = parse_load("1@0, 3@20,0.5@40")
    assert [load.at(t) for t in (0, 19.9, 20, 39, 40, 99)] == [1, 1, 3, 3, 0.5, 0.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "'fast' is no load"),
        ("-1", "above 0"),
        ("nan", "above 0"),
        ("2@1", "start at 0 s"),
        ("1@0,2@0", "follow in time"),
        ("1@0,2", "got '2'"),
        ("1@0,x@3", "is no load"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, words: str) -> None:
    with pytest.raises(LoadTraceError, match=words):
        parse_load(text)
