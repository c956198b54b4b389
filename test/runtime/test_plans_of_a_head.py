"""Plans as a head follows them: from which frame on, for how long, and which it refuses."""

import math
import threading
import time

import pytest
from support.split_pair import Pair, middle_cut

from dapdee_ros.core.frames import FramePlan, FrameResult, HeadFrame, Place
from dapdee_ros.exits.model_folder import LoadedModel
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.runtime.head import HeadRuntime, HeadSettings
from dapdee_ros.runtime.split_network import SplitNetwork

WAIT_S = 10.0


def test_deadline_and_window_are_those_of_the_plan(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    boundary = middle_cut(model, exits)
    pair.wire = None
    pair.head.settings = HeadSettings(deadline_s=5.0, margin_s=0.05)
    pair.head.set_plan(FramePlan(1, exits, boundary, "f32", deadline_s=0.5, max_in_flight=1))
    pair.head.accept(frames[0])
    deadline = time.monotonic() + WAIT_S
    while not pair.sent and time.monotonic() < deadline:
        time.sleep(0.005)
    pair.head.accept(frames[1])
    time.sleep(0.1)
    assert len(pair.sent) == 1
    by_number = {r.number: r for r in (pair.results.get(timeout=WAIT_S) for _ in range(2))}
    # One that has begun keeps the deadline that it began under.
    assert [by_number[n].deadline_s for n in (1, 2)] == pytest.approx([0.5, 0.5])
    assert 0.3 < by_number[1].latency_s <= 0.5
    pair.head.set_plan(FramePlan(2, exits, boundary, "f32", deadline_s=1e-3, max_in_flight=1))
    pair.head.accept(frames[2])
    assert pair.results.get(timeout=WAIT_S).deadline_s == pytest.approx(1e-3)
    assert pair.head.ledger().deadline_misses == 1


def test_an_announcement_that_a_full_link_holds_up_delays_no_plan(
    network: SplitNetwork, frames: list
) -> None:
    sending, room, told = threading.Event(), threading.Event(), list[HeadFrame]()

    def announce(frame: HeadFrame) -> None:
        sending.set()
        room.wait(WAIT_S)
        told.append(frame)

    results = list[FrameResult]()
    head = HeadRuntime(
        network, load=lambda image: image, send=print, publish=results.append, session=1,
        announce=announce,
    )  # fmt: skip
    head.start()
    began_s = time.monotonic()
    for epoch, codec in enumerate(("f32", "f16", "u8"), start=1):
        head.set_plan(FramePlan(epoch, network.exit_count, (network.dag.input,), codec))
        assert sending.wait(WAIT_S)
    head.set_plan(FramePlan(4, 1))
    assert head.plan.epoch == 4 and time.monotonic() - began_s < 0.5 * WAIT_S
    head.accept(frames[0])
    while not results and time.monotonic() - began_s < WAIT_S:
        time.sleep(0.005)
    assert [(r.place, r.exit_number) for r in results] == [(Place.CAR, 1)]
    room.set()
    while len(told) < 2 and time.monotonic() - began_s < WAIT_S:
        time.sleep(0.005)
    # Of those that wait only the newest can still be of use.
    assert [frame.codec for frame in told] == ["f32", "u8"]
    head.stop()


def test_a_plan_expires_with_its_manager_and_holds_again_when_one_is_heard(
    network: SplitNetwork,
) -> None:
    now = [100.0]
    head = HeadRuntime(
        network,
        load=lambda image: image,
        send=print,
        publish=print,
        session=1,
        settings=HeadSettings(plan_timeout_s=5.0),
        clock=lambda: now[0],
    )
    head.hear_manager()  # of one without a plan there is nothing to hold
    assert (head.plan.epoch, head.manager_silent_s) == (0, math.inf)
    head.set_plan(FramePlan(1, network.exit_count, (network.dag.input,), "f32"))
    for _ in range(10):
        now[0] += 4.0
        assert head.plan.epoch == 1
        head.hear_manager()
    now[0] += 5.1
    assert head.plan.epoch == 0
    assert not head.plan.boundary
    assert head.manager_silent_s == pytest.approx(5.1)
    head.hear_manager()
    assert head.plan.epoch == 1


def test_a_new_plan_loses_nothing_that_is_on_its_way(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    held: list[HeadFrame] = []
    pair.wire = held.append
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    pair.head.accept(frames[0])
    deadline = time.monotonic() + WAIT_S
    while not held and time.monotonic() < deadline:
        time.sleep(0.005)
    pair.head.set_plan(FramePlan(2, 1, (model.card.dag.input,), "f32"))
    pair.tail.submit(held[0])
    result = pair.results.get(timeout=WAIT_S)
    assert (result.plan.epoch, result.exit_number, result.place) == (1, exits, Place.EDGE)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (FramePlan(1, 99), "exit 99"),
        (FramePlan(1, 1, ("nowhere",)), "nowhere"),
        (FramePlan(1, 2, (), gate=2, gate_threshold=0.5), "shallower"),
        (FramePlan(1, 2, (), gate=1, gate_threshold=1.5), "threshold"),
        (FramePlan(0, 1), "epoch is 0"),
        *((FramePlan(1, 1, deadline_s=s), "deadline_s") for s in (0.0, -1.0, 1e9, math.nan)),
        *((FramePlan(1, 1, max_in_flight=frames), "max_in_flight") for frames in (-1, 0, 17)),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_and_the_old_one_stays(
    pair: Pair, frames: list, plan: FramePlan, words: str
) -> None:
    with pytest.raises(GraphError, match=words):
        pair.head.set_plan(plan)
    assert pair.head.plan.epoch == 0
    pair.head.accept(frames[0])
    assert pair.results.get(timeout=WAIT_S).plan.epoch == 0


def test_a_boundary_that_does_not_suffice_is_refused(pair: Pair, model: LoadedModel) -> None:
    exits = len(model.card.dag.exits)
    first_branch = model.card.dag.exit_sink(1)
    with pytest.raises(GraphError, match=r"suffice|no use"):
        pair.head.set_plan(FramePlan(1, exits, (first_branch,), "f32"))
