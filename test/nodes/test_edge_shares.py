"""One edge process, three cars that want more of it than there is: each gets its share."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
SHARES = {"car1": 2.0, "car2": 1.0, "car3": 1.0}
SENDS = f"exit={len(CARD.dag.exits)} boundary={CARD.dag.input} codec=f32"
START_S = 90.0
WARM_S, MEASURED_S = 5.0, 30.0


def of_edge(results: list[msg.InferenceResult]) -> list[msg.InferenceResult]:
    return [r for r in results if r.place == msg.InferenceResult.PLACE_EDGE]


@pytest.mark.alone
def test_cars_that_want_more_than_there_is_get_their_shares(ros: RosWorld) -> None:
    results = {
        car: ros.collect(msg.InferenceResult, f"/{car}/inference", qos.RESULT) for car in SHARES
    }
    ledgers = {car: ros.collect(msg.FrameLedger, f"/{car}/ledger", qos.LATCHED) for car in SHARES}
    # Its tail takes about 60 ms, so the three bring three times as much as it can do.
    edge = ros.start(
        "edge",
        {
            "threads": 1,
            "cars": list(SHARES),
            "shares": [f"{car}={share}" for car, share in SHARES.items()],
            "emulated_slowdown": 12.0,
        },
    )
    sides = []
    for car in SHARES:
        inside = ("-r", f"__ns:=/{car}")
        sides.append(ros.start("head", {"threads": 1, "deadline_s": 1.0}, *inside))
        sides.append(ros.start("manager", {"pinned_plan": SENDS, "deadline_s": 1.0}, *inside))
        sides.append(ros.start("camera", {"rate_hz": 15.0}, *inside))
    ros.spin_until(
        lambda: all(len(of_edge(found)) >= 10 for found in results.values()), START_S, "all served"
    )
    ros.spin_for(WARM_S)
    first = {car: len(found) for car, found in results.items()}
    ros.spin_for(MEASURED_S)
    lately = {car: found[first[car] :] for car, found in results.items()}
    tail_s = {car: sum(r.tail_s for r in of_edge(found)) for car, found in lately.items()}
    busy = {car: sum("busy" in r.detail for r in found) for car, found in lately.items()}
    served = {car: len(of_edge(found)) for car, found in lately.items()}
    seen = f"seconds {tail_s}, served {served}, busy {busy}"
    for car, share in SHARES.items():
        part = tail_s[car] / sum(tail_s.values())
        assert part == pytest.approx(share / sum(SHARES.values()), rel=0.1), seen
    # The edge is not left idle, and few frames were sent for nothing.
    assert sum(tail_s.values()) >= 0.8 * MEASURED_S, seen
    assert sum(busy.values()) <= 0.2 * sum(served.values()), seen
    for side in reversed(sides):
        side.stop(with_signal=signal.SIGINT)
    for car in SHARES:
        last = ledgers[car][-1]
        assert last.accepted == last.results + last.drops + last.in_flight
        assert last.results >= 0.99 * last.accepted, (list(last.drop_reasons), last.drop_counts)
    assert edge.stop(with_signal=signal.SIGINT) == 0


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
