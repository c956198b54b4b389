import itertools
import time
from pathlib import Path

import pytest

from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.testbed.link_player import LinkPlayer, rate_changes


def test_steps_are_played_at_their_times_and_over_again() -> None:
    trace = parse_link("steps:5@0,1@2,loop@3")
    changes = list(itertools.islice(rate_changes(trace), 4))
    assert changes == [(0.0, 5e6), (2.0, 1e6), (3.0, 5e6), (5.0, 1e6)]


def test_a_fixed_rate_is_set_once() -> None:
    assert list(rate_changes(parse_link("4g"))) == [(0.0, 5.85e6)]


def test_a_trace_of_packets_is_played_as_its_mean(tmp_path: Path) -> None:
    path = tmp_path / "trace.up"
    # Nine packets in the first tenth of a second, nothing in the second one.
    path.write_text("".join(f"{10 * i}\n" for i in range(1, 10)) + "200\n")
    trace = parse_link(str(path))
    changes = list(itertools.islice(rate_changes(trace), 2))
    assert changes[0] == (0.0, pytest.approx(9 * 1500 * 8 / 0.1))
    assert changes[1] == (pytest.approx(0.1), pytest.approx(1 * 1500 * 8 / 0.1))


def test_it_plays_in_real_time_and_remembers_what_it_played() -> None:
    rates: list[float] = []
    player = LinkPlayer(parse_link("steps:5@0,1@0.2,0@0.4,3@60"), rates.append)
    player.start()
    deadline = time.monotonic() + 10
    while len(rates) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    player.stop()
    player.check()
    assert rates == [5e6, 1e6, 0.0]
    assert [rate for _, rate in player.played] == rates
    assert player.played[2][0] >= 0.4


def test_a_link_that_cannot_be_changed_is_noticed() -> None:
    def refuse(rate_bps: float) -> None:
        raise RuntimeError("no such link")

    player = LinkPlayer(parse_link("4g"), refuse)
    player.start()
    player.stop()
    with pytest.raises(RuntimeError, match="no such link"):
        player.check()
