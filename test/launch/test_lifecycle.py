"""Head and edge through all their states, by the services that ``ros2 lifecycle`` calls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from services import ask

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]

START_S = 60.0
ALL = {"head": "car/profile", "edge": "edge/profile"}


def test_every_transition_and_a_model_that_is_not_there(ros: RosWorld) -> None:
    asking = ros.node("asking")
    programs = {name: ros.start(name, {"autostart": False, "threads": 1}) for name in ALL}
    profiles = {name: ros.collect(msg.DeviceProfile, ALL[name], qos.LATCHED) for name in ALL}
    for name, program in programs.items():
        change = asking.create_client(ChangeState, f"{name}/change_state")
        get = asking.create_client(GetState, f"{name}/get_state")
        parameters = AsyncParameterClient(asking, name)

        def state(get: Any = get) -> int:
            return ask(ros, lambda: get.call_async(GetState.Request())).current_state.id

        def transit(transition: int, change: Any = change) -> bool:
            request = ChangeState.Request(transition=Transition(id=transition))
            future = change.call_async(request)
            ros.spin_until(future.done, START_S)
            return future.result().success

        def set_model(model: str, parameters: AsyncParameterClient = parameters) -> None:
            values = [Parameter("model", value=model)]
            answer = ask(ros, lambda: parameters.set_parameters(values))
            assert answer.results[0].successful

        for service in (change, get):
            ros.spin_until(service.service_is_ready, START_S, f"services of {name}")
        ros.spin_until(parameters.services_are_ready, START_S)
        # A transition that this state does not have is refused, and does no harm.
        nonsense = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_ACTIVATE))
        assert not ask(ros, partial(change.call_async, nonsense)).success
        assert state() == State.PRIMARY_STATE_UNCONFIGURED
        set_model("/not/there")
        assert not transit(Transition.TRANSITION_CONFIGURE)
        assert state() == State.PRIMARY_STATE_UNCONFIGURED
        assert "cannot use the model: no model '/not/there'" in program.output()
        set_model("roadsigns")
        for _ in range(2):
            assert transit(Transition.TRANSITION_CONFIGURE)
            ros.spin_until(profiles[name].__len__, START_S, f"the profile of {name}")
            assert transit(Transition.TRANSITION_ACTIVATE)
            assert state() == State.PRIMARY_STATE_ACTIVE
            assert transit(Transition.TRANSITION_DEACTIVATE)
            assert transit(Transition.TRANSITION_CLEANUP)
            assert state() == State.PRIMARY_STATE_UNCONFIGURED
            profiles[name].clear()
    assert all(program.stop(20.0) == 0 for program in programs.values())
