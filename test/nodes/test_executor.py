"""The executor of our processes: calls what is ready, and nothing that was destroyed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

WAIT_S = 10.0


class Spun:
    """The executor on a thread, its end kept."""

    def __init__(self) -> None:
        from dapdee_ros.nodes.executor import LeanExecutor

        self.executor = LeanExecutor()
        self.end: BaseException | None = None
        self.thread = threading.Thread(target=self._spin)

    def _spin(self) -> None:
        try:
            self.executor.spin()
        except BaseException as error:
            self.end = error

    def start(self, *nodes: Any) -> None:
        for node in nodes:
            self.executor.add_node(node)
        self.thread.start()

    def until(self, condition: Callable[[], Any]) -> Any:
        until_s = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert time.monotonic() < until_s and self.thread.is_alive(), self.end
            time.sleep(0.01)
        return found

    def ended(self) -> BaseException | None:
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()
        return self.end


@pytest.fixture
def spun(ros: RosWorld) -> Iterator[Spun]:
    spun = Spun()
    yield spun
    spun.executor.shutdown()
    if spun.thread.ident is not None:
        spun.ended()


def a_node(name: str = "one") -> Any:
    from rclpy.node import Node

    return Node(name)


def test_everything_that_a_node_may_wait_for_is_called(spun: Spun) -> None:
    from rcl_interfaces.srv import GetParameters
    from std_msgs.msg import UInt32

    from dapdee_ros.nodes.timers import every

    node, other = a_node(), a_node("other")
    came: dict[str, list[Any]] = {n: [] for n in ("plain", "raw", "informed", "timer", "guard")}
    node.create_subscription(UInt32, "n", came["plain"].append, 10)
    node.create_subscription(UInt32, "n", came["raw"].append, 10, raw=True)

    def informed(message: Any, info: Any) -> None:
        came["informed"].append((message, info))

    node.create_subscription(UInt32, "n", informed, 10)
    every(node, 0.05, lambda: came["timer"].append(time.monotonic()))
    guard = node.create_guard_condition(lambda: came["guard"].append(1))
    publisher = other.create_publisher(UInt32, "n", 10)
    client = other.create_client(GetParameters, "one/get_parameters")
    spun.start(node, other)
    spun.until(lambda: publisher.get_subscription_count() == 3)
    for n in range(5):
        publisher.publish(UInt32(data=n))
    guard.trigger()
    assert client.wait_for_service(WAIT_S)
    future = client.call_async(GetParameters.Request(names=["use_sim_time"]))
    spun.until(lambda: len(came["plain"]) == len(came["raw"]) == len(came["informed"]) == 5)
    spun.until(lambda: came["guard"] and future.done())
    assert [m.data for m in came["plain"]] == [m.data for m, _ in came["informed"]] == [*range(5)]
    assert isinstance(came["raw"][0], bytes)
    assert "source_timestamp" in came["informed"][0][1]
    assert future.result().values[0].bool_value is False
    spun.until(lambda: len(came["timer"]) > 10)
    gaps = [b - a for a, b in zip(came["timer"], came["timer"][1:], strict=False)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.05, abs=0.02)


def test_tasks_run_and_coroutines_that_wait_for_others_go_on(spun: Spun) -> None:
    from rclpy.task import Future

    node, first, ran = a_node(), Future(), []

    async def waits() -> None:
        ran.append(await first)

    spun.start(node)
    spun.executor.create_task(waits)
    spun.executor.create_task(ran.append, 1)
    spun.until(lambda: ran == [1])
    spun.executor.create_task(first.set_result, 2)
    spun.until(lambda: ran == [1, 2])


def test_events_of_the_middleware_are_reported(spun: Spun) -> None:
    from rclpy.event_handler import SubscriptionEventCallbacks
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from std_msgs.msg import UInt32

    events: list[Any] = []
    node = a_node()
    node.create_subscription(
        UInt32,
        "n",
        lambda _: None,
        QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE),
        event_callbacks=SubscriptionEventCallbacks(incompatible_qos=events.append),
    )
    spun.start(node)
    node.create_publisher(
        UInt32, "n", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    spun.until(lambda: events)


def test_what_is_created_later_is_called_and_what_is_destroyed_is_not(spun: Spun) -> None:
    from std_msgs.msg import UInt32

    from dapdee_ros.nodes.timers import every

    came: list[int] = []
    calls: list[str] = []
    subscriptions: list[Any] = []
    node = a_node()

    def take(message: Any) -> None:
        came.append(message.data)
        for subscription in subscriptions:  # the other one, ready in the same turn, too
            node.destroy_subscription(subscription)
        subscriptions.clear()

    def begin() -> None:
        node.destroy_timer(timer)
        subscriptions.extend(node.create_subscription(UInt32, "n", take, 10) for _ in range(2))
        calls.append("begun")
        every(node, 0.05, lambda: calls.append("later"))

    timer = every(node, 0.1, begin)
    publisher = node.create_publisher(UInt32, "n", 10)
    spun.start(node)
    spun.until(lambda: publisher.get_subscription_count() == 2)
    for n in range(3):
        publisher.publish(UInt32(data=n))
    spun.until(lambda: publisher.get_subscription_count() == 0)
    spun.until(lambda: calls.count("later") > 5)
    assert came == [0] and calls.count("begun") == 1


def test_what_a_service_or_a_task_creates_is_called(spun: Spun) -> None:
    from rcl_interfaces.msg import SetParametersResult
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    from dapdee_ros.nodes.timers import every

    node, other = a_node(), a_node("other")
    calls: list[str] = []
    node.declare_parameter("wanted", "")

    def create(parameters: list[Any]) -> SetParametersResult:
        name = parameters[0].value
        every(node, 0.02, lambda: calls.append(name))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(create)
    client = other.create_client(SetParameters, "one/set_parameters")
    spun.start(node, other)
    assert client.wait_for_service(WAIT_S)
    for name in ("first", "second"):
        request = SetParameters.Request(
            parameters=[Parameter("wanted", value=name).to_parameter_msg()]
        )
        future = client.call_async(request)
        # Before the middleware's events are looked for, after which it would be found in any case.
        spun.until(future.done)
        called_s = time.monotonic()
        spun.until(partial(calls.__contains__, name))
        assert time.monotonic() - called_s < 0.5
    spun.executor.create_task(lambda: every(node, 0.02, lambda: calls.append("third")))
    spun.until(lambda: "third" in calls)


def test_turns_can_be_made_one_by_one_and_end_in_time(ros: RosWorld) -> None:
    from rclpy.executors import ExternalShutdownException

    from dapdee_ros.nodes.executor import LeanExecutor
    from dapdee_ros.nodes.timers import every

    calls: list[float] = []
    executor, node = LeanExecutor(), a_node()
    executor.add_node(node)
    began_s = time.monotonic()
    for _ in range(5):
        executor.spin_once(timeout_sec=0.05)
    assert time.monotonic() - began_s < 1.0 and not calls
    every(node, 0.02, lambda: calls.append(time.monotonic()))
    while len(calls) < 3:
        executor.spin_once()
        assert time.monotonic() - began_s < WAIT_S
    ros.context.shutdown()
    with pytest.raises(ExternalShutdownException):
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()
    executor.spin_once()
    node.destroy_node()


def test_a_node_that_is_removed_is_not_called_any_more(spun: Spun) -> None:
    from dapdee_ros.nodes.timers import every

    one, two, calls = a_node(), a_node("two"), []
    every(one, 0.02, lambda: calls.append("one"))
    every(two, 0.02, lambda: calls.append("two"))
    spun.start(one, two)
    spun.until(lambda: {"one", "two"} <= {*calls})
    spun.executor.remove_node(one)
    time.sleep(0.1)
    calls.clear()
    spun.until(lambda: len(calls) > 5)
    assert {*calls} == {"two"}


@pytest.mark.parametrize("by", ["timer", "subscription", "guard", "task"])
def test_what_a_callback_raises_ends_the_spinning(spun: Spun, by: str) -> None:
    from std_msgs.msg import UInt32

    from dapdee_ros.nodes.timers import every

    def fail(*_: Any) -> None:
        raise RuntimeError(by)

    node = a_node()
    publisher = node.create_publisher(UInt32, "n", 1)
    if by == "timer":
        every(node, 0.05, fail)
    elif by == "subscription":
        node.create_subscription(UInt32, "n", fail, 1)
    guard = node.create_guard_condition(fail)
    spun.start(node)
    if by == "subscription":
        spun.until(lambda: publisher.get_subscription_count())
        publisher.publish(UInt32())
    elif by == "guard":
        guard.trigger()
    elif by == "task":
        spun.executor.create_task(fail)
    error = spun.ended()
    assert isinstance(error, RuntimeError) and str(error) == by


def test_it_ends_when_it_is_shut_down_and_when_the_context_is(spun: Spun, ros: RosWorld) -> None:
    from rclpy.executors import ExternalShutdownException

    spun.start(a_node())
    time.sleep(0.1)
    spun.executor.shutdown()
    assert spun.ended() is None
    other = Spun()
    other.start(a_node("two"))
    time.sleep(0.1)
    ros.context.shutdown()
    assert isinstance(other.ended(), ExternalShutdownException)


def test_where_rclpy_is_another_inside_its_own_executor_does_the_work(
    spun: Spun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dapdee_ros.nodes import executor
    from dapdee_ros.nodes.timers import every

    def of_another_release(timer: Any) -> None:
        raise AttributeError("no call_timer")

    monkeypatch.setattr(executor, "_call_of_timer", of_another_release)
    node, calls = a_node(), []
    every(node, 0.05, lambda: calls.append(1))
    with caplog.at_level("INFO"):
        spun.start(node)
        spun.until(lambda: len(calls) > 3)
    assert "rclpy's own executor" in caplog.text
