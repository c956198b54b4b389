"""A trained actor as an ONNX file, which runs without torch (``planning/fleet/ppo.py``).

The network is written operator by operator: it has three layers, and torch's exporter would add
packages that nothing else here needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dapdee_ros.planning.fleet.in_turn import (
    CAR_FEATURES,
    PLAN_FEATURES,
    WEIGHTS,
    observation_size,
)
from dapdee_ros.planning.fleet.ppo import PROPERTY, decides
from dapdee_ros.planning.fleet.short_list import LENGTH

_OPSET, _IR = 17, 8
_NEVER = -1e9


def policy_file(weights: Mapping[str, NDArray[Any]], trained: Mapping[str, Any]) -> bytes:
    """The content of a policy's file.

    Args:
        weights: of ``network.Actor``, by their names there; ``(out, in)`` for a layer.
        trained: how it came to be, kept in the file's metadata; values that JSON takes.

    Raises:
        KeyError: if a weight is missing.
    """
    constants: dict[str, NDArray[Any]] = {
        "first": np.array([0]), "car_end": np.array([CAR_FEATURES]),
        "end": np.array([observation_size(LENGTH)]), "by_plan": np.array([1]),
        "flag": np.array([PLAN_FEATURES - 1]), "flag_end": np.array([PLAN_FEATURES]),
        "last": np.array([2]), "plans_shape": np.array([-1, LENGTH, PLAN_FEATURES]),
        "scores_shape": np.array([-1, LENGTH * len(WEIGHTS)]),
        "half": np.array(0.5, np.float32), "never": np.array(_NEVER, np.float32),
    }  # fmt: skip
    for name in (
        "plans.plan.weight", "plans.plan.bias", "plans.car.weight", "each.weight", "each.bias",
        "mean.weight", "score.weight", "score.bias",
    ):  # fmt: skip
        value = np.asarray(weights[name], np.float32)
        constants[name] = value.T.copy() if value.ndim == 2 else value

    nodes = []

    def add(kind: str, *inputs: str, to: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [to], to, **attributes))
        return to

    car = add("Slice", "seen", "first", "car_end", "by_plan", to="car")
    car = add("Unsqueeze", car, "by_plan", to="of_car")
    flat = add("Slice", "seen", "car_end", "end", "by_plan", to="flat")
    plans = add("Reshape", flat, "plans_shape", to="of_plans")
    there = add("Slice", plans, "flag", "flag_end", "last", to="there")
    each = add("MatMul", plans, "plans.plan.weight", to="plan_layer")
    each = add("Add", each, "plans.plan.bias", to="plan_biased")
    each = add("Add", each, add("MatMul", car, "plans.car.weight", to="car_layer"), to="both")
    each = add("Relu", each, to="each_plan")
    mean = add("ReduceSum", add("Mul", each, there, to="counted"), "by_plan", to="sum")
    mean = add("Div", mean, add("ReduceSum", there, "by_plan", to="count"), to="mean_plan")
    mixed = add("Add", add("MatMul", each, "each.weight", to="each_layer"), "each.bias", to="each2")
    mixed = add("Add", mixed, add("MatMul", mean, "mean.weight", to="mean_layer"), to="mixed")
    score = add("MatMul", add("Relu", mixed, to="mixed_plan"), "score.weight", to="score_layer")
    score = add("Add", score, "score.bias", to="score_biased")
    score = add("Where", add("Greater", there, "half", to="is_there"), score, "never", to="masked")
    add("Reshape", score, "scores_shape", to="scores")

    graph = helper.make_graph(
        nodes,
        "fleet policy",
        [helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["n", observation_size(LENGTH)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", LENGTH * len(WEIGHTS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = _IR
    helper.set_model_props(model, {PROPERTY: json.dumps({**decides(), "trained": dict(trained)})})
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
