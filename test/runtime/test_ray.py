"""Two replicas on a real Ray cluster of this machine, behind the edge's own rules."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.ray_cluster import (
    RAY_MARKS,
    Cars,
    answers_to,
    cluster_of,
    coded,
    gateway,
    images_of,
    kill_a_replica,
    replicas_below,
    until,
    whole,
)

from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.engines.engine import Array
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.runtime.cut_costs import spread_cuts
from dapdee_ros.runtime.ray_cluster import RayCluster
from dapdee_ros.runtime.ray_settings import RaySettings
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime

pytestmark = RAY_MARKS

CARS = 4


@pytest.fixture(scope="module")
def model() -> Runnable:
    return load_runnable(find_model("roadsigns"))


@pytest.fixture(scope="module")
def images(model: Runnable) -> list[Array]:
    return images_of(model, 2 * CARS)


@pytest.fixture(scope="module")
def cluster(model: Runnable, measured: Path) -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_HOME", str(measured))
        with cluster_of(model, RaySettings(ray_replicas=2)) as cluster:
            yield cluster


def test_replicas_answer_as_the_embedded_engine_does(
    model: Runnable, images: list[Array], cluster: RayCluster
) -> None:
    dag = model.card.dag
    frames = []
    for exit_number in range(1, len(dag.exits) + 1):
        cuts = [dag.input, *spread_cuts(dag, exit_number, 2)]
        frames += [
            coded(model, image, (cut,), exit_number, codec)
            for cut, image in zip(cuts, images, strict=False)
            for codec in ("f32", "u8")
        ]
    good = frames[0]
    frames += [
        replace(good, data=good.data[:-8]),
        replace(good, model_id="another"),
        replace(good, exit_number=99),
        replace(good, codec="unheard of"),
        replace(good, specs=[replace(good.specs[0], name="no node")]),
        replace(good, specs=[replace(good.specs[0], shape=(1, 2, 3))]),
    ]
    there: list[TailAnswer] = []
    here: list[TailAnswer] = []
    with gateway(model, cluster, there.append) as (tail, _):
        answers_to(frames, tail, there)
    embedded = TailRuntime(SplitNetwork(model), here.append)
    embedded.start()
    answers_to(frames, embedded, here)
    embedded.stop()
    statuses = Counter(answer.status for answer in here)
    assert statuses[Status.OK] > 20 and statuses[Status.BAD_TENSOR] == 5
    for remote, local in zip(there, here, strict=True):
        assert (remote.status, remote.detail) == (local.status, local.detail)
        assert (remote.exit_number, remote.answer) == (local.exit_number, local.answer)
        assert 0 <= remote.tail_s <= remote.residence_s


def test_frames_of_several_cars_are_computed_together(
    model: Runnable, images: list[Array], cluster: RayCluster
) -> None:
    cars = Cars([whole(model, image) for image in images])
    with (
        gateway(model, cluster, cars.answer, most_batch=4) as (tail, _),
        cars.driving(2 * CARS, tail),
    ):
        until(lambda: tail.runs < tail.computed, "a batch")
        cars.wait(100)
    assert cars.statuses().keys() == {Status.OK}
    network = SplitNetwork(model)
    dag, last = model.card.dag, len(model.card.dag.exits)
    for car, image in enumerate(images):
        outputs = model.engine.run({dag.input: image}, dag.exit_outputs(last))
        expected = network.decode(outputs, last)
        for number in range(1, cars.sent[car] + 1):
            answer = cars.answers[car, number].answer
            assert answer.class_id == expected.class_id
            assert answer.score == pytest.approx(expected.score, abs=1e-4)


def test_what_is_announced_is_compiled_on_every_replica(
    model: Runnable, images: list[Array], cluster: RayCluster
) -> None:
    dag = model.card.dag
    frame = coded(model, images[0], (spread_cuts(dag, 2, 4)[1],), 2, "f16")
    answers: list[TailAnswer] = []
    with gateway(model, cluster, answers.append) as (tail, worker):
        assert worker.places == 4
        assert cluster.prepare(replace(frame, data=b""), 2)
        tail.expect(replace(frame, data=b""))
        first, *_ = answers_to([frame] * 8, tail, answers)
    assert {answer.status for answer in answers} == {Status.OK}
    assert first.answer == answers[-1].answer
    # Nor does one that cannot be compiled stop anything.
    assert not cluster.prepare(replace(frame, exit_number=99), 1)


def test_a_killed_replica_loses_nothing(
    model: Runnable, images: list[Array], cluster: RayCluster
) -> None:
    cars = Cars([whole(model, image) for image in images])
    with gateway(model, cluster, cars.answer) as (tail, worker), cars.driving(CARS, tail):
        cars.wait(40)
        assert len(replicas_below(os.getpid())) == 2
        victim = kill_a_replica(os.getpid())
        cars.wait(100)
        until(lambda: len(replicas_below(os.getpid()) - {victim}) == 2, "another replica")
        until(lambda: cluster.running == worker.replicas == 2, "both take frames")
        cars.wait(100)
    # In flight at the kill or not: every frame has one answer, and that is none of "busy".
    assert cars.statuses() == {Status.OK: cars.sent.total()}
