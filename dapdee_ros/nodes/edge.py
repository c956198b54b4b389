"""The edge's node: finishes the frames of one or several cars."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

import dapdee_ros.msg as msg
from dapdee_ros.core.expiring import Expiring
from dapdee_ros.core.fair_queue import QueueBounds, ShareError, check_shares, read_shares
from dapdee_ros.core.frames import Status, TailAnswer
from dapdee_ros.core.settings import settings_of
from dapdee_ros.engines.engine import RAY, EngineError
from dapdee_ros.estimation.health import Health, Level, Value
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import Car, car_of, declare_cars
from dapdee_ros.nodes.conversions import message_to_head_frame, tail_answer_to_message
from dapdee_ros.nodes.fleet_messages import shares_fault
from dapdee_ros.nodes.link import LinkEnd
from dapdee_ros.nodes.model_lifecycle import NOT_ACTIVE, ModelLifecycleNode
from dapdee_ros.nodes.model_settings import EdgeModelSettings
from dapdee_ros.nodes.parameters import ParameterError, declare_settings, on_change
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import EdgeSettings
from dapdee_ros.nodes.ray_gateway import RayGateway
from dapdee_ros.nodes.servers import declare_server, server_topic
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import listen_checking
from dapdee_ros.runtime.health import EdgeHealth
from dapdee_ros.runtime.ray_replica import ReplicaOptions
from dapdee_ros.runtime.ray_settings import RaySettings
from dapdee_ros.runtime.split_network import ModelPrograms
from dapdee_ros.runtime.tail import TailRuntime
from dapdee_ros.sealing.channels import Role

DRAINING = "the edge server is being drained: it takes no more frames"
_LOOK_S = 0.5
"""Between two looks whether a fleet node's shares still hold."""


class _Port:
    """The edge's subscriptions and publishers for one car.

    Attributes:
        draining: whether frames are refused, until it takes them again.
    """

    def __init__(
        self, link: LinkEnd, rejections: Rejections, answer: Callable[[TailAnswer], None]
    ) -> None:
        self.car, self._link, self._rejections = link.car, link, rejections
        self.draining, self._answer = False, answer
        self._results: Any = None
        self._frames: Any = None
        self._runtime: TailRuntime | None = None
        self.answered: Counter[Status] = Counter()
        self.tail_s = 0.0
        self._echoes = link.publisher("probe_echo", msg.Probe, qos.PROBE)
        link.listen("probe", msg.Probe, self._echo, qos.PROBE, rejections)

    @property
    def server(self) -> str:
        """What this edge server is called."""
        return self._link.server

    def open(self, runtime: TailRuntime, reliable: bool) -> None:
        """Start taking frames."""
        # The load monitor on this machine subscribes as well.
        self._results = self._link.publisher(
            "edge_result", msg.InferenceResult, qos.tensor_qos(reliable, 10), here_too=True
        )
        self._runtime = runtime
        self._frames = self._link.listen(
            "head_tensor", msg.HeadTensor, self._take, qos.tensor_qos(reliable, 2), self._rejections
        )

    def close_frames(self) -> None:
        """Stop taking frames; answers are still sent."""
        if self._frames is not None:
            self._link.end_subscription(self._frames)
        self._frames = self._runtime = None

    def close(self) -> None:
        """Stop publishing."""
        if self._results is not None:
            self._link.end_publisher(self._results)
        self._results = None

    def publish(self, message: msg.InferenceResult, status: Status) -> None:
        """Answer a frame."""
        self.answered[status] += 1
        self.tail_s += message.tail_s
        if self._results is not None:
            self._results.publish(message)

    def _refused(self, kind: str, car_id: str, server: str = "") -> bool:
        fault = self.car.mismatch(car_id)
        if not fault and server not in ("", self._link.server):
            fault = f"it is for server {server[:64]!r} on a topic of {self._link.server!r}"
        if fault:
            self._rejections.count(time.monotonic(), kind, fault)
        return bool(fault)

    def _take(self, message: msg.HeadTensor) -> None:
        runtime = self._runtime  # the link's thread may deliver this while another thread stops it
        kind = "frame of another car"
        if runtime is None or self._refused(kind, message.car_id, message.server):
            return
        frame = message_to_head_frame(message)
        if frame.is_announcement:
            runtime.expect(frame)
        elif self.draining:
            self._answer(
                TailAnswer(
                    frame.number,
                    frame.session,
                    Status.DRAINING,
                    DRAINING,
                    None,
                    frame.exit_number,
                    tail_s=0.0,
                    residence_s=0.0,
                    sent_echo_s=frame.sent_s,
                    received_bytes=len(frame.data),
                    context=(self, message.header),
                )
            )
        else:
            runtime.submit(replace(frame, car_id=self.car.car_id, context=(self, message.header)))

    def _echo(self, probe: msg.Probe) -> None:
        if self._runtime is None or self._refused("probe of another car", probe.car_id):
            return  # the planner cannot use a link to an edge that takes no frames
        probe.padding = b""
        self._echoes.publish(probe)


class Edge(ModelLifecycleNode):
    """Subscribes to head_tensor and probe of every car, publishes edge_result and probe_echo.

    Where cars use several servers, these topics are below this one's name (``nodes.servers``).
    """

    MODEL_SETTINGS = EdgeModelSettings

    def __init__(self) -> None:
        super().__init__("edge", "edge/profile", Role.EDGE)
        self._runtime: TailRuntime | None = None
        self._gateway: RayGateway | None = None
        declare_settings(self, RaySettings)
        self._health = EdgeHealth()
        self._ports = [_Port(link, self.rejections, self._answer) for link in self.links]
        settings = declare_settings(self, EdgeSettings)
        self._shares = self._checked_shares(settings.shares)
        self._told_shares = Expiring[dict[str, float]]()
        self._drain(settings.drain)
        on_change(self, self._set_parameters)
        self._server = self.links[0].server
        listen_checking(
            self, msg.FleetShares, server_topic(self._server, "edge/shares"), self._take_shares,
            qos.LATCHED, self.rejections, check=shares_fault,
        )  # fmt: skip
        every(self, _LOOK_S, self._expire_shares)

    def _peers(self) -> list[tuple[Car | None, str]]:
        own, server = car_of(self), declare_server(self)
        # Names in its own namespace stay relative, so that they can be remapped.
        return [(None if car == own else car, server) for car in declare_cars(self)]

    def load_network(self, threads: int, slowdown: float) -> ModelPrograms:
        """As ever, or start replicas that compute it."""
        engine, address = (self.get_parameter(name).value for name in ("engine", "ray"))
        if engine != RAY and not address:
            return super().load_network(threads, slowdown)
        if engine == "torch":
            raise EngineError(
                f"the replicas on {address!r} (ray) compute with onnxruntime: do not "
                "set engine to torch, or leave ray empty"
            )
        settings = RaySettings(
            **{one.name: self.get_parameter(one.name).value for one in settings_of(RaySettings)}
        )
        provider = self.get_parameter("execution_provider").value
        self._gateway = RayGateway(
            self.get_parameter("model").value,
            settings,
            ReplicaOptions(threads, provider, slowdown),
            self.get_fully_qualified_name(),
        )
        return self._gateway.network

    def free_network(self) -> None:
        """Let the model go, and the replicas that compute it."""
        super().free_network()
        if self._gateway is not None:
            self._gateway.close()
        self._gateway = None

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start taking frames."""
        if self.network is None:
            return TransitionCallbackReturn.FAILURE
        bounds = QueueBounds(
            frames=self.get_parameter("queue_frames").value,
            size_bytes=self.get_parameter("queue_bytes").value,
            cars=len(self._ports),
        )
        self._runtime = TailRuntime(
            self.network,
            self._answer,
            bounds=bounds,
            shares=self._shares_now,
            most_batch=self.get_parameter("most_batch").value,
            rejections=self.rejections,
            worker=self._gateway.new_worker() if self._gateway is not None else None,
        )
        self._runtime.start()
        for port in self._ports:
            port.open(self._runtime, self.get_parameter("reliable").value)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop taking frames; the one in work is still answered."""
        self.stop_runtime()
        return super().on_deactivate(state)

    def stop_runtime(self) -> None:
        """End the inference thread, if there is one."""
        for port in self._ports:
            port.close_frames()
        if self._runtime is not None:
            runtime, self._runtime = self._runtime, None
            runtime.stop()
            for port in self._ports:
                computed, refused = port.answered[Status.OK], port.answered.total()
                of_car = f"{port.car.car_id}: " if len(self._ports) > 1 else ""
                self.get_logger().info(
                    f"{of_car}{computed} frames answered, {refused - computed} refused"
                )
                port.close()

    def _checked_shares(self, texts: Sequence[str]) -> dict[str, float]:
        """The parameter ``shares``, by car.

        Raises:
            ParameterError: if it makes no sense, or names a car that is not served.
        """
        served = [port.car.car_id for port in self._ports]
        try:
            shares = read_shares(texts)
            check_shares(shares)
        except ShareError as error:
            raise ParameterError(f"parameter shares: {error}") from error
        if unknown := [car for car in shares if car not in served]:
            raise ParameterError(
                f"parameter shares names {unknown[0]!r}, which is none of the cars {served}"
            )
        return shares

    def _set_parameters(self, changed: dict[str, Any]) -> None:
        if "shares" in changed:
            self._shares = self._checked_shares(changed["shares"])
            self._apply_shares()
        if "drain" in changed:
            self._drain(changed["drain"])

    def _drain(self, draining: bool) -> None:
        """Take no more frames, or take them again; cars are told."""
        if draining == self.draining:
            return
        self.draining = draining
        for port in self._ports:
            port.draining = draining
        self.publish_profile()
        self.get_logger().info(DRAINING if draining else "frames are taken again")

    def _take_shares(self, message: msg.FleetShares) -> None:
        """A fleet node tells shares; they hold for a while, in place of the parameter's."""
        served = {port.car.car_id for port in self._ports}
        shares = zip(message.cars, message.shares, strict=True)
        told = {car: share for car, share in shares if car in served}
        fault = f"they are those of {message.server!r}" if message.server != self._server else ""
        fault = fault or self._told_shares.hear(
            time.monotonic(), told, message.epoch, message.number, message.valid_s
        )
        if not fault:
            self._apply_shares()
        elif self.rejections.count(time.monotonic(), "impossible shares", fault):
            self.get_logger().warning(f"shares are not used: {fault}")

    def _expire_shares(self) -> None:
        if self._told_shares.expire(time.monotonic()):
            self.get_logger().info("no fleet node: back to the parameter shares")
            self._apply_shares()

    @property
    def _shares_now(self) -> dict[str, float]:
        """Those of a fleet node while they hold, and any car of it asks; else the parameter's."""
        return self._told_shares.at(time.monotonic()) or self._shares

    def _apply_shares(self) -> None:
        if self._runtime is not None:
            self._runtime.set_shares(self._shares_now)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks edge, refused, and seal (per car, if there are several)."""
        common = {"refused": self.rejections.health(now_s)}
        for link in self.links:
            of_car = f" of {link.car.car_id}" if len(self.links) > 1 else ""
            common |= {f"{task}{of_car}": h for task, h in link.diagnose(now_s).items()}
        if self._runtime is None or self.network is None:
            return {"edge": Health(Level.STALE, NOT_ACTIVE, {}), **common}
        runtime, card = self._runtime, self.network.card
        refused = {status.name.lower(): n for status, n in runtime.refused.items()}
        health = self._health.judge(
            now_s,
            runtime.computed,
            refused,
            runtime.queue_depth,
            f"{card.name} ({card.model_id[:12]})",
        )
        if self.draining:
            left = "none is left" if not runtime.queue_depth else f"{runtime.queue_depth} are left"
            health = replace(health, level=Level.WARN, message=f"{DRAINING}; {left}")
        if len(self._ports) > 1:
            values = {**health.values, **self._by_car()}
            if runtime.runs:
                values["frames per run of the network"] = runtime.computed / runtime.runs
            health = replace(health, values=values)
        if self._gateway is not None and self._gateway.worker is not None:
            replicas = self._gateway.worker.replicas
            health = replace(health, values={**health.values, "replicas": replicas})
        return {"edge": health, **common}

    def _by_car(self) -> dict[str, Value]:
        """What each car has had of the edge."""
        values: dict[str, Value] = {}
        for port in self._ports:
            car = port.car.car_id
            values[f"answered ({car})"] = port.answered[Status.OK]
            values[f"busy ({car})"] = port.answered[Status.BUSY]
            values[f"tail_s ({car})"] = port.tail_s
            values[f"share ({car})"] = self._shares_now.get(car, 1.0)
        return values

    def _answer(self, answer: TailAnswer) -> None:
        if self.network is not None:
            port, header = answer.context
            task = self.network.task
            named = replace(answer, server=port.server)
            port.publish(
                tail_answer_to_message(named, header, task, port.car.car_id), answer.status
            )


def main() -> int:
    """Run the edge node until it is stopped."""
    return run_nodes(lambda: [Edge()])
