"""Head and tail over a wire in one process, with the shipped model and real threads."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from support.split_pair import Pair, answers_of, middle_cut

from dapdee_ros.codecs import TensorSpec
from dapdee_ros.core.frames import FramePlan, HeadFrame, Place, Status, TailAnswer
from dapdee_ros.engines.slow_engine import SlowEngine
from dapdee_ros.exits.model_folder import LoadedModel
from dapdee_ros.runtime.head import SHUTDOWN, SUPERSEDED, FrameError, HeadRuntime, HeadSettings
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

WAIT_S = 10.0


def test_starts_alone_on_the_car(pair: Pair, model: LoadedModel, frames: list) -> None:
    pair.head.accept(frames[0])
    result = pair.results.get(timeout=WAIT_S)
    assert result.place is Place.CAR
    assert result.exit_number == len(model.card.dag.exits)
    assert result.sent_bytes == 0
    assert result.transfer_s == result.tail_s == 0
    assert result.answer.class_id == answers_of(model, frames[:1], result.exit_number)[0]


def test_split_gives_the_unsplit_answers_at_every_exit(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    for exit_number in range(1, len(model.card.dag.exits) + 1):
        plan = FramePlan(exit_number, exit_number, middle_cut(model, exit_number), "f32")
        pair.head.set_plan(plan)
        wanted = answers_of(model, frames[:4], exit_number)
        for frame, class_id in zip(frames[:4], wanted, strict=True):
            pair.head.accept(frame)
            result = pair.results.get(timeout=WAIT_S)
            assert result.place is Place.EDGE, result.detail
            assert result.exit_number == exit_number
            assert result.plan == plan
            assert result.answer.class_id == class_id
            assert 0 < result.head_s < result.latency_s
            assert result.tail_s > 0
            assert result.sent_bytes == len(pair.sent[-1].data)
            assert result.residence_s >= result.tail_s


def test_a_cut_wire_is_answered_by_the_car_before_the_deadline(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    pair.wire = None
    pair.head.settings = HeadSettings(deadline_s=0.5, margin_s=0.05)
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    pair.head.accept(frames[0])
    result = pair.results.get(timeout=WAIT_S)
    assert result.place is Place.CAR_FALLBACK
    assert "no answer" in result.detail
    assert result.latency_s <= 0.5
    # There was time for the planned exit, so nothing was given up.
    assert result.exit_number == exits
    assert result.answer.class_id == answers_of(model, frames[:1], exits)[0]


@pytest.mark.alone
def test_a_slow_car_falls_back_to_the_deepest_exit_that_fits(
    model: LoadedModel, profile: object, frames: list
) -> None:
    import queue

    from dapdee_ros.engines.slow_engine import slowed_down

    exits = len(model.card.dag.exits)
    boundary = (model.card.dag.input,)
    whole_s = profile.total_s  # type: ignore[attr-defined]
    slowdown = max(2.0, 1.0 / whole_s)  # the whole network takes about a second
    network = SplitNetwork(
        model,
        slowed_down(profile, slowdown),  # type: ignore[arg-type]
        SlowEngine(model.engine, slowdown),
    )
    results: queue.Queue = queue.Queue()
    head = HeadRuntime(
        network,
        load=lambda image: image,
        send=lambda frame: None,
        publish=results.put,
        session=1,
        settings=HeadSettings(deadline_s=0.6, margin_s=0.05),
    )
    head.set_plan(FramePlan(1, exits, boundary, "f32", predicted_remote_s=0.05))
    head.start()
    head.accept(frames[0])
    result = results.get(timeout=WAIT_S)
    head.stop()
    assert result.place is Place.CAR_FALLBACK
    # The next deeper one would have taken longer than the whole deadline.
    deeper = network.dag.exit_sink(result.exit_number + 1)
    assert result.exit_number < exits
    assert network.profiled_s(network.dag.ancestors([deeper])) > 0.3


def test_late_answers_are_counted_not_published(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    pair.head.settings = HeadSettings(deadline_s=0.2, margin_s=0.02)
    pair.wire = None
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    pair.head.accept(frames[0])
    assert pair.results.get(timeout=WAIT_S).place is Place.CAR_FALLBACK
    pair.tail.submit(pair.sent[0])  # the frame arrives at last
    deadline = time.monotonic() + WAIT_S
    while not pair.head.ledger().late_answers and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pair.head.ledger().late_answers == 1
    assert pair.results.empty()


def test_an_answer_counts_once_however_often_it_comes(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)

    def twice(frame: HeadFrame) -> None:
        pair.tail.submit(frame)
        deadline = time.monotonic() + WAIT_S
        while pair.tail.queue_depth and time.monotonic() < deadline:
            time.sleep(0.005)
        pair.tail.submit(frame)

    pair.wire = twice
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    pair.head.accept(frames[0])
    assert pair.results.get(timeout=WAIT_S).place is Place.EDGE
    deadline = time.monotonic() + WAIT_S
    while not pair.head.ledger().late_answers and time.monotonic() < deadline:
        time.sleep(0.01)
    summary = pair.head.ledger()
    assert (summary.results, summary.late_answers) == (1, 1)


def test_answers_to_another_session_are_ignored(pair: Pair, frames: list) -> None:
    pair.head.answer(TailAnswer(1, pair.head.session + 1, Status.OK, "", None, 1, 0.0, 0.0, 0.0))
    assert pair.head.ledger().late_answers == 1
    pair.head.accept(frames[0])
    assert pair.results.get(timeout=WAIT_S).number == 1


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (lambda f: replace(f, model_id="other"), Status.WRONG_MODEL, "this edge runs"),
        (lambda f: replace(f, exit_number=99), Status.BAD_TENSOR, "exit 99"),
        (lambda f: replace(f, data=f.data[:-1]), Status.BAD_TENSOR, "bytes"),
        (lambda f: replace(f, codec="zip"), Status.BAD_TENSOR, "zip"),
        (lambda f: replace(f, specs=[]), Status.BAD_TENSOR, "suffice"),
        (
            lambda f: replace(f, specs=[replace(f.specs[0], name="nowhere")]),
            Status.BAD_TENSOR,
            "nowhere",
        ),
        (
            lambda f: replace(f, specs=[replace(f.specs[0], shape=(1, 10**9))]),
            Status.BAD_TENSOR,
            "shape",
        ),
        (
            lambda f: replace(f, specs=[*f.specs] * 300),
            Status.BAD_TENSOR,
            "at most",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_finished_on_the_car(
    pair: Pair, model: LoadedModel, frames: list, spoil: object, status: Status, words: str
) -> None:
    exits = len(model.card.dag.exits)
    pair.wire = lambda frame: pair.tail.submit(spoil(frame))  # type: ignore[operator]
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    pair.head.accept(frames[0])
    result = pair.results.get(timeout=WAIT_S)
    assert result.place is Place.CAR_FALLBACK
    assert status.name.lower() in result.detail
    assert words in result.detail
    assert result.latency_s < 0.8  # it did not wait for the deadline
    assert pair.tail.refused[status] == 1
    # The edge is none the worse for it.
    pair.wire = pair.tail.submit
    pair.head.accept(frames[1])
    assert pair.results.get(timeout=WAIT_S).place is Place.EDGE


def test_the_newest_frame_wins_and_the_others_are_accounted_for(pair: Pair, frames: list) -> None:
    for frame in frames[:30]:
        pair.head.accept(frame)
    deadline = time.monotonic() + WAIT_S
    while pair.head.ledger().in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    summary = pair.head.ledger()
    assert summary.accepted == 30
    assert summary.reasons[SUPERSEDED] == summary.drops > 0
    numbers = [pair.results.get().number for _ in range(summary.results)]
    assert numbers[-1] == 30
    assert numbers == sorted(numbers)


def test_no_more_than_the_window_is_on_its_way(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    pair.wire = None
    pair.head.settings = HeadSettings(deadline_s=1.0, max_in_flight=2)
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    for frame in frames[:6]:
        pair.head.accept(frame)
        time.sleep(0.05)
    assert len(pair.sent) == 2
    full = [pair.results.get(timeout=WAIT_S) for _ in range(4)]
    assert {r.place for r in full} == {Place.CAR_FALLBACK}
    assert all("window" in r.detail for r in full[:2])


def test_a_confident_gate_ends_the_frame_on_the_car(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    dag = model.card.dag
    trunk = dag.exit_part(1) & dag.exit_part(exits)
    boundary = dag.boundary(trunk, exits)
    pair.head.set_plan(FramePlan(1, exits, boundary, "f32", gate=1, gate_threshold=0.0))
    pair.head.accept(frames[0])
    sure = pair.results.get(timeout=WAIT_S)
    assert (sure.place, sure.exit_number, len(pair.sent)) == (Place.CAR, 1, 0)
    pair.head.set_plan(FramePlan(2, exits, boundary, "f32", gate=1, gate_threshold=1.0))
    unsure = 0
    for frame in frames[:8]:
        pair.head.accept(frame)
        result = pair.results.get(timeout=WAIT_S)
        unsure += result.place is Place.EDGE and result.exit_number == exits
    assert unsure == len(pair.sent) > 0


def test_a_bad_image_is_a_drop_with_its_reason(model: LoadedModel, frames: list) -> None:
    def load(image: np.ndarray) -> np.ndarray:
        raise FrameError("no such encoding")

    head = HeadRuntime(SplitNetwork(model), load=load, send=print, publish=print, session=1)
    head.start()
    head.accept(frames[0])
    deadline = time.monotonic() + WAIT_S
    while head.ledger().in_flight and time.monotonic() < deadline:
        time.sleep(0.01)
    head.stop()
    assert head.ledger().reasons == {"bad image: no such encoding": 1}


def test_stopping_closes_the_ledger(pair: Pair, model: LoadedModel, frames: list) -> None:
    exits = len(model.card.dag.exits)
    pair.wire = None
    pair.head.settings = HeadSettings(deadline_s=60.0)
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    pair.head.accept(frames[0])
    deadline = time.monotonic() + WAIT_S
    while not pair.sent and time.monotonic() < deadline:
        time.sleep(0.005)
    pair.head.stop()
    assert pair.head.ledger().reasons == {SHUTDOWN: 1}
    pair.head.accept(frames[1])
    assert pair.head.ledger().drops == 2


def test_a_displaced_frame_is_answered_as_busy(model: LoadedModel, frames: list) -> None:
    answers: list[TailAnswer] = []
    tail = TailRuntime(SplitNetwork(model), answers.append)
    height, width = model.card.input_size
    spec = TensorSpec(
        model.card.dag.input, "uint8", (1, height, width, 3), (), (), 0, frames[0].nbytes
    )
    for number in (1, 2, 3):  # one in work, one waiting, one that takes its place
        tail.submit(
            HeadFrame(number, 1, 0.0, model.card.model_id, 1, "f32", [spec], frames[0].tobytes())
        )
    tail.start()
    deadline = time.monotonic() + WAIT_S
    while len(answers) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    tail.stop()
    assert [(a.number, a.status) for a in answers] == [
        (2, Status.BUSY),
        (1, Status.OK),
        (3, Status.OK),
    ]


def test_the_ledger_balances_whenever_it_is_read(
    pair: Pair, model: LoadedModel, frames: list
) -> None:
    exits = len(model.card.dag.exits)
    pair.head.set_plan(FramePlan(1, exits, middle_cut(model, exits), "f32"))
    ended = threading.Event()
    unbalanced = []

    def read() -> None:
        while not ended.is_set():
            summary = pair.head.ledger()
            if not summary.balanced:
                unbalanced.append(summary)

    def bring() -> None:
        for _ in range(20):
            for frame in frames[:10]:
                pair.head.accept(frame)

    threads = [threading.Thread(target=work) for work in (read, bring, bring, bring)]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    ended.set()
    threads[0].join()
    assert not unbalanced
    assert pair.head.ledger().accepted == 600
