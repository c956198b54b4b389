"""A plan whose parts have to be compiled takes over when they are; no frame waits for it."""

from __future__ import annotations

import queue
import random
import threading
import time

import numpy as np
import pytest

from dapdee_ros.core.frames import FramePlan, FrameResult
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.engines.engine import EngineError
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.runtime.head import HeadRuntime
from dapdee_ros.runtime.preparation import Preparation
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

pytestmark = pytest.mark.alone

CHANGES = 20
FRAMES_PER_PLAN = 4
PERIOD_S = 0.06
DEADLINE_S = 1.5


def network() -> SplitNetwork:
    return SplitNetwork(load_runnable(find_model("roadsigns"), "onnxruntime"))


def test_plans_that_were_never_compiled_lose_and_delay_no_frame() -> None:
    own = network()
    exits = len(own.dag.exits)
    inner = [cut.boundary for cut in cuts(own.dag, exits) if cut.boundary]
    chosen = random.Random(2).sample(inner, CHANGES)
    results: queue.Queue[FrameResult] = queue.Queue()
    made: list[HeadRuntime] = []
    tail = TailRuntime(network(), lambda answer: made[0].answer(answer))
    image = np.random.default_rng(0).integers(0, 256, own.dag.nodes[0].shape, np.uint8)
    head = HeadRuntime(
        own,
        load=lambda _: image,
        send=tail.submit,
        publish=results.put,
        session=1,
        settings=HeadSettings(deadline_s=DEADLINE_S),
    )
    made.append(head)
    tail.start()
    head.start()
    try:
        for epoch, boundary in enumerate(chosen, start=1):
            plan = FramePlan(epoch, exits, boundary, "f32")
            began_s = time.monotonic()
            head.set_plan(plan)
            # Whoever brings a plan has other things to do, such as taking the next image.
            assert time.monotonic() - began_s < PERIOD_S
            for _ in range(FRAMES_PER_PLAN):
                head.accept(None)
                time.sleep(PERIOD_S)
        time.sleep(DEADLINE_S)
    finally:
        head.stop()
        tail.stop()
    ledger = head.ledger()
    accepted = CHANGES * FRAMES_PER_PLAN
    assert (ledger.accepted, ledger.results) == (accepted, accepted), ledger
    came = [results.get_nowait() for _ in range(accepted)]
    assert max(result.latency_s for result in came) <= DEADLINE_S
    # The first frames of a plan that is being compiled are still computed under the one before.
    assert len({result.plan.epoch for result in came}) >= 3


class Compiler:
    """What a preparation asks of a network; compiling waits until it is allowed."""

    def __init__(self) -> None:
        self.may_end = threading.Semaphore(0)
        self.began: queue.Queue[int] = queue.Queue()
        self.ready: set[int] = set()
        self.broken: set[int] = set()

    def is_ready(self, program: HeadProgram) -> bool:
        return program.plan.epoch in self.ready

    def prepare(self, program: HeadProgram) -> None:
        self.began.put(program.plan.epoch)
        assert self.may_end.acquire(timeout=10.0)
        if program.plan.epoch in self.broken:
            raise EngineError("no kernel for this")
        self.ready.add(program.plan.epoch)


@pytest.fixture
def programs() -> list[HeadProgram]:
    own = network()
    return [own.head_program(FramePlan(epoch, 1)) for epoch in range(1, 5)]


def test_the_newest_plan_takes_over_and_none_goes_back(programs: list[HeadProgram]) -> None:
    first, second, third, ready = programs
    compiler = Compiler()
    compiler.ready.add(ready.plan.epoch)
    handed_on: queue.Queue[int] = queue.Queue()
    preparation = Preparation(
        compiler,  # type: ignore[arg-type]
        lambda program: handed_on.put(program.plan.epoch),
    )
    preparation.bring(first)
    assert compiler.began.get(timeout=5.0) == 1
    preparation.bring(second)  # waits, and is superseded
    preparation.bring(third)
    compiler.may_end.release(2)
    # Plans that change faster than they are compiled must not keep the head from all of them.
    assert handed_on.get(timeout=5.0) == first.plan.epoch
    assert compiler.began.get(timeout=5.0) == third.plan.epoch
    assert handed_on.get(timeout=5.0) == third.plan.epoch
    preparation.bring(second)
    assert compiler.began.get(timeout=5.0) == second.plan.epoch
    preparation.bring(ready)  # at once, and what is being compiled is not wanted any more
    assert handed_on.get_nowait() == ready.plan.epoch
    compiler.may_end.release()
    preparation.stop()
    assert handed_on.empty()


def test_a_part_that_cannot_be_compiled_leaves_the_old_plan(programs: list[HeadProgram]) -> None:
    compiler = Compiler()
    compiler.broken.add(1)
    handed_on: queue.Queue[int] = queue.Queue()
    preparation = Preparation(
        compiler,  # type: ignore[arg-type]
        lambda program: handed_on.put(program.plan.epoch),
    )
    compiler.may_end.release(2)
    preparation.bring(programs[0])
    assert compiler.began.get(timeout=5.0) == 1
    preparation.bring(programs[1])
    assert handed_on.get(timeout=5.0) == 2
    preparation.stop()
    assert handed_on.empty()
