"""One edge process serves two cars in two namespaces; neither takes the other's place."""

from __future__ import annotations

import signal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ros_world import DomainLease

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos
from dapdee_ros.sealing.key_file import SUFFIX, new_ring, save_new

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
START_S = 90.0
CARS = ("car1", "car2")
SENDS = f"exit={len(CARD.dag.exits)} boundary={CARD.dag.input} codec=f32"


def new_key(folder: Path, car: str) -> Path:
    """A key of a car, in the folder of the edge's keys."""
    path = folder / "keys" / f"{car}{SUFFIX}"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    save_new(new_ring(car, "2026-01-01T00:00:00Z"), path)
    return path


def begin_car(ros: RosWorld, car: str, rate_hz: float, **env: str) -> None:
    inside = ("-r", f"__ns:=/{car}")
    ros.start("head", {"threads": 1, "deadline_s": 1.0}, *inside, env=env)
    ros.start("manager", {"pinned_plan": SENDS, "deadline_s": 1.0}, *inside, env=env)
    ros.start("camera", {"rate_hz": rate_hz}, *inside, env=env)


def stamp_s(result: msg.InferenceResult) -> float:
    stamp = result.header.stamp
    return float(stamp.sec + 1e-9 * stamp.nanosec)


def at(place: int, results: list) -> list:
    return [r for r in results if r.place == place]


@pytest.mark.alone
@pytest.mark.parametrize("sealed", [False, True])
def test_two_cars_on_one_edge_take_nothing_from_each_other(
    ros: RosWorld, tmp_path: Path, request: pytest.FixtureRequest, sealed: bool
) -> None:
    env_of = {car: {"DAPDEE_LINK_KEY": "none"} for car in CARS}
    edge_env = {"DAPDEE_LINK_KEY": "none"}
    if sealed:
        lease = DomainLease()
        request.addfinalizer(lease.close)
        domain = {"DAPDEE_LINK_DOMAIN": str(lease.domain_id)}
        env_of = {car: {"DAPDEE_LINK_KEY": str(new_key(tmp_path, car)), **domain} for car in CARS}
        edge_env = {"DAPDEE_LINK_KEY": str(tmp_path / "keys"), **domain}
    results = {
        car: ros.collect(msg.InferenceResult, f"/{car}/inference", qos.RESULT) for car in CARS
    }
    ledgers = {car: ros.collect(msg.FrameLedger, f"/{car}/ledger", qos.LATCHED) for car in CARS}
    # Its tail takes about 60 ms: the fast car alone brings frames faster than that.
    edge = ros.start(
        "edge", {"threads": 1, "cars": list(CARS), "emulated_slowdown": 12.0}, env=edge_env
    )
    begin_car(ros, "car1", 25.0, **env_of["car1"])
    begin_car(ros, "car2", 2.0, **env_of["car2"])
    remote = msg.InferenceResult.PLACE_EDGE
    ros.spin_until(
        lambda: all(len(at(remote, results[car])) >= 5 for car in CARS), START_S, "both are served"
    )
    first = {car: len(results[car]) for car in CARS}
    ros.spin_until(
        lambda: len(results["car2"]) - first["car2"] >= 24, START_S, "24 of the slow car"
    )
    slow = results["car2"][first["car2"] :]
    fast = results["car1"][first["car1"] :]
    # The fast car keeps the edge busy all the time: its own frames take each other's place there.
    # The slow one's have to wait for the frame in work, which may be too long for one now and then;
    # and only if its camera was late itself do two come so close that the second takes the place.
    assert any("busy" in r.detail for r in results["car1"])
    displaced = [
        stamp_s(after) - stamp_s(before)
        for before, after in pairwise(sorted(slow, key=lambda r: r.frame_number))
        if "busy" in before.detail
    ]
    assert all(apart_s < 0.35 for apart_s in displaced), displaced
    assert len(at(remote, slow)) >= 0.8 * len(slow), [r.detail for r in slow]
    assert len(at(remote, fast)) >= 40
    for car in CARS:
        assert {r.car_id for r in results[car]} == {car}
        summary = ledgers[car][-1]
        assert summary.accepted == summary.results + summary.drops + summary.in_flight
    assert edge.stop(with_signal=signal.SIGINT) == 0
    answered = [line for line in edge.output().splitlines() if "frames answered" in line]
    assert len(answered) == 2, edge.output()


@pytest.mark.parametrize(
    ("cars", "words"),
    [
        (["car1", "car1"], "is listed twice"),
        (["", "car"], "both named 'car'"),
        ([f"{'x' * 64}1", f"{'x' * 64}2"], "at most 64 characters"),
        (["car 1"], "not a namespace"),
        (["1car"], "namespace"),
    ],
)
def test_cars_that_make_no_sense_are_named(ros: RosWorld, cars: list[str], words: str) -> None:
    edge = ros.start("edge", {"cars": cars})
    assert edge.wait(30.0) == 2
    assert words in edge.output()


def test_a_car_without_a_key_of_its_own_is_named(ros: RosWorld, tmp_path: Path) -> None:
    new_key(tmp_path, "car1")
    edge = ros.start("edge", {"cars": list(CARS)}, env={"DAPDEE_LINK_KEY": str(tmp_path / "keys")})
    assert edge.wait(30.0) == 2
    assert "no key car2.json for the car car2" in edge.output()
