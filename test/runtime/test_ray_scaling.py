"""Ray clusters of other shapes: replicas that come and go, too few of them, several machines."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest
from support.ray_cluster import (
    RAY_MARKS,
    Cars,
    are_gone,
    cluster_of,
    gateway,
    images_of,
    processes_below,
    until,
    whole,
)

from dapdee_ros.core.frames import Status
from dapdee_ros.engines.engine import Array, EngineError
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable
from dapdee_ros.runtime.finishing import FrameRefused
from dapdee_ros.runtime.ray_cluster import BUSY_REPLICAS, BUSY_WAITED, RayCluster
from dapdee_ros.runtime.ray_replica import ReplicaOptions
from dapdee_ros.runtime.ray_settings import RaySettings

pytestmark = RAY_MARKS

CARS = 4


@pytest.fixture(scope="module")
def model() -> Runnable:
    return load_runnable(find_model("roadsigns"))


@pytest.fixture(scope="module")
def images(model: Runnable) -> list[Array]:
    return images_of(model, CARS)


def test_replicas_come_and_go_with_the_load_and_nothing_is_left(
    model: Runnable, images: list[Array]
) -> None:
    cars = Cars([whole(model, image) for image in images])
    settings = RaySettings(ray_replicas=1, ray_most_replicas=2, ray_idle_s=2.0)
    # A frame takes about 30 ms.
    with cluster_of(model, settings, ReplicaOptions(slowdown=10.0)) as cluster:
        started = processes_below(os.getpid())
        with gateway(model, cluster, cars.answer) as (tail, worker):
            assert (worker.replicas, worker.places) == (1, 2)
            with cars.driving(CARS, tail):
                until(lambda: (worker.replicas, worker.places) == (2, 4), "a second replica")
                cars.wait(40)
                started += processes_below(os.getpid())
            # A frame now and then, while the second replica goes.
            while worker.replicas == 2:
                cars.send(0)
                cars.finish()
                time.sleep(0.3)
            assert (worker.replicas, worker.places) == (1, 2)
            with cars.driving(CARS, tail):
                cars.wait(20)
    assert cars.statuses() == {Status.OK: cars.sent.total()}
    until(lambda: are_gone(started), "the end of the cluster's processes", 15.0)


def test_what_waits_too_long_or_behind_too_many_is_busy(
    model: Runnable, images: list[Array]
) -> None:
    frame = whole(model, images[0])
    refused: list[str] = []
    finished: list[object] = []

    def ask(within_s: float) -> None:
        try:
            finished.append(cluster.finish([frame], within_s).event)
        except FrameRefused as error:
            assert error.status is Status.BUSY
            refused.append(str(error))

    # A frame takes more than half a second.
    settings = RaySettings(ray_replicas=1, ray_in_flight=1, ray_queued=1)
    with cluster_of(model, settings, ReplicaOptions(slowdown=200.0)) as cluster:
        ask(30.0)
        assert len(finished) == 1
        threads = [threading.Thread(target=ask, args=(30.0,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # One is computed, and one waits for its place; of the others none waits.
        assert {*refused} == {BUSY_REPLICAS}
        assert len(refused) + len(finished) == 7 and len(refused) >= 3
        refused.clear()
        ask(0.05)
        assert refused == [BUSY_WAITED]


@pytest.fixture
def two_machines() -> Iterator[str]:
    """The address of a cluster of two machines with one core each, as far as Ray can tell."""
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    try:
        cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def test_replicas_on_two_machines_of_a_cluster_that_is_there(
    model: Runnable, images: list[Array], two_machines: str
) -> None:
    with pytest.raises(EngineError, match=r"has 2 CPUs, 3 replicas .* need 3"):
        RayCluster(model.card, RaySettings(ray=two_machines, ray_replicas=3))
    cars = Cars([whole(model, image) for image in images])
    with (
        cluster_of(model, RaySettings(ray=two_machines, ray_replicas=2)) as cluster,
        gateway(model, cluster, cars.answer) as (tail, _),
        cars.driving(CARS, tail),
    ):
        cars.wait(100)
    assert cars.statuses() == {Status.OK: cars.sent.total()}


def test_a_cluster_that_is_not_there_is_named(model: Runnable) -> None:
    with pytest.raises(EngineError, match=r"no Ray cluster at '127\.0\.0\.1:9'.*ray start --head"):
        RayCluster(model.card, RaySettings(ray="127.0.0.1:9"))
