"""A real model, split in one process: what head and tail do to each other without ROS."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support.split_pair import Pair

from dapdee_ros.datasets.roadsigns import RoadSigns
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.model_folder import LoadedModel, load_model
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.runtime.head import HeadRuntime, HeadSettings
from dapdee_ros.runtime.profiling import measure_profile
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.runtime.tail import TailRuntime


@pytest.fixture(scope="session")
def model() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model(find_model("roadsigns"))


@pytest.fixture(scope="session")
def profile(model: LoadedModel) -> DeviceProfile:
    height, width = model.card.input_size
    example = torch.zeros((1, height, width, 3), dtype=torch.uint8)
    return measure_profile(
        model.runner, example, model_id=model.card.model_id, repeats=5, budget_s=0.5
    )


@pytest.fixture
def network(model: LoadedModel, profile: DeviceProfile) -> SplitNetwork:
    return SplitNetwork(model, profile)


@pytest.fixture(scope="session")
def frames(model: LoadedModel) -> list[np.ndarray]:
    scenes = RoadSigns(seed=11, size=model.card.input_size)
    return [scenes.frame(index).image[None] for index in range(40)]


@pytest.fixture
def pair(model: LoadedModel, profile: DeviceProfile) -> Iterator[Pair]:
    made: list[Pair] = []
    tail = TailRuntime(SplitNetwork(model, profile), lambda answer: made[0].head.answer(answer))
    head = HeadRuntime(
        SplitNetwork(model, profile),
        load=lambda image: image,
        send=lambda frame: made[0].send(frame),
        publish=lambda result: made[0].results.put(result),
        session=next(_SESSIONS),
        settings=HeadSettings(deadline_s=1.0),
    )
    pair = Pair(head, tail)
    pair.wire = tail.submit
    made.append(pair)
    head.start()
    tail.start()
    yield pair
    head.stop()
    tail.stop()
    summary = head.ledger()
    assert summary.in_flight == 0
    assert summary.accepted == summary.results + summary.drops


_SESSIONS = itertools.count(1)
