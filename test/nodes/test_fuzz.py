"""Spoiled messages, by dice and by hypothesis, against everything that looks at them.

``bench/fuzz.py`` does the same with 100,000, and with 2,000 over DDS against real nodes.
"""

from __future__ import annotations

import math
import os
from array import array
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dapdee_ros.msg as msg
from bench.fuzz import SHARES, fuzz_pure
from bench.fuzzing.targets import Refused, Target, load_network, targets
from dapdee_ros.core.frames import FramePlan, Status, TailAnswer
from dapdee_ros.core.head_frame import answer_fault
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.tasks.classification import Classification

MESSAGES = int(os.environ.get("DAPDEE_FUZZ", "4000"))
EXAMPLES = settings(
    max_examples=max(200, MESSAGES // 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=32)
ANY_UINT = st.one_of(st.integers(0, 7), st.integers(0, 255))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> SplitNetwork:
    return load_network(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def kinds(network: SplitNetwork) -> dict[str, Target]:
    return targets(network)


def test_real_messages_pass(kinds: dict[str, Target]) -> None:
    for name, kind in kinds.items():
        assert {kind.verdict(data) for data in kind.real} == {"passed"}, name


def test_spoiled_messages_are_refused_or_harmless_and_cheap(kinds: dict[str, Target]) -> None:
    found = fuzz_pure(kinds, MESSAGES, seed=2)
    assert found["ok"], found
    for name in SHARES:
        assert found[name]["refused"] > 0 and found[name]["passed"] > 0, found


def test_plans_that_hypothesis_thinks_up(network: SplitNetwork) -> None:
    names = [node.name for node in network.dag.nodes]

    @EXAMPLES
    @given(
        exit_number=ANY_UINT,
        boundary=st.lists(st.one_of(st.sampled_from(names), st.text(max_size=20)), max_size=5),
        codec=st.one_of(st.sampled_from(["f32", "u8z", "jpeg", ""]), st.text(max_size=10)),
        gate=st.one_of(st.none(), ANY_UINT),
        threshold=ANY_FLOAT,
        predicted_s=ANY_FLOAT,
    )
    def check(
        exit_number: int,
        boundary: list[str],
        codec: str,
        gate: int | None,
        threshold: float,
        predicted_s: float,
    ) -> None:
        plan = FramePlan(1, exit_number, tuple(boundary), codec, gate, threshold, predicted_s)
        try:
            program = network.head_program(plan)
        except GraphError as error:
            assert 5 < len(str(error)) < 2000
            return
        # What passes can be computed: every stage names nodes, every frame can be finished here.
        assert set(program.boundary) == set(boundary)
        assert all(name in network.dag.by_name for stage in program.stages for name in stage)
        assert not boundary or set(program.finish_profiled_s) == set(range(1, exit_number + 1))
        assert not predicted_s < 0 and not math.isinf(predicted_s)

    check()


def test_answers_that_hypothesis_thinks_up(network: SplitNetwork) -> None:
    labels = network.card.labels
    class_ids = st.one_of(st.integers(-2, len(labels) + 1), st.integers(-(2**31), 2**31 - 1))

    @EXAMPLES
    @given(
        class_id=class_ids,
        top=st.lists(st.tuples(class_ids, ANY_FLOAT), max_size=7),
        score=ANY_FLOAT,
        exit_number=ANY_UINT,
        seconds=st.tuples(ANY_FLOAT, ANY_FLOAT),
    )
    def check(
        class_id: int,
        top: list[tuple[int, float]],
        score: float,
        exit_number: int,
        seconds: tuple[float, float],
    ) -> None:
        found = Classification(class_id, score, tuple(c for c, _ in top), tuple(s for _, s in top))
        answer = TailAnswer(1, 1, Status.OK, "", found, exit_number, *seconds, sent_echo_s=0.0)
        if not network.task.misfit(answer.answer) and not answer_fault(answer, exit_number=2):
            assert exit_number == 2
            assert all(labels[c] for c in (class_id, *found.top_classes)) and class_id >= 0
            assert all(0 <= s < math.inf for s in seconds)

    check()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("node_seconds", array("d", [1.0]), "nodes with the seconds of 1"),
        ("node_names", ["image", "image"], "named twice"),
        ("node_seconds", None, "to 3600 s"),
    ],
)
def test_profiles_that_contradict_themselves(
    kinds: dict[str, Target], network: SplitNetwork, field: str, value: Any, words: str
) -> None:
    message = msg.DeviceProfile(
        model_id=network.card.model_id,
        device="x",
        threads=1,
        node_names=["image", "other"],
        node_seconds=array("d", [0.0, 1e9]),
    )
    if value is not None:
        setattr(message, field, value)
    with pytest.raises(Refused, match=words.replace("+", r"\+")):
        kinds["DeviceProfile"].check(message)
