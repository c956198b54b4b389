"""A model's replicas on Ray Serve, and calls to them by deployment handle.

Ray is imported only when a cluster is asked for: car and edge do without it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapdee_ros.codecs.bottleneck.file import FOLDER as BOTTLENECKS_FOLDER
from dapdee_ros.core.frames import Status
from dapdee_ros.engines.engine import RAY, RAY_MISSING, EngineError
from dapdee_ros.exits.card import CALIBRATION_FILE, GRAPH_FILE, MODEL_FILE, NETWORK_FILE
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.runtime.finishing import FrameRefused
from dapdee_ros.runtime.ray_replica import Finished, ReplicaOptions, TailReplica

if TYPE_CHECKING:
    from dapdee_ros.core.frames import HeadFrame
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.runtime.ray_settings import RaySettings

log = logging.getLogger(__name__)

START_S = 180.0
"""Seconds that replicas may take to start: on another machine they read their files first."""

BUSY_REPLICAS = "too many frames wait for the edge server's replicas"
BUSY_WAITED = "no replica of the edge server answered in time"

_STORE_BYTES = 256 * 2**20
_GPU_PROVIDERS = ("cuda", "tensorrt")
_DEPLOYMENT = "tail"
_RUNNING = "RUNNING"
_PROFILE_S = 300.0
_LEAST_WAIT_S = 0.05
_KNOCK_S = 5.0
_TARGET = 0.75
"""Part of a replica's places that are taken on average, from which on it has too much to do."""

_ENVIRONMENT = {
    # Ray would report how it is used.
    "RAY_USAGE_STATS_ENABLED": "0",
    # How often what is in work is told to what decides how many replicas there are.
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Replicas are what such a machine is for; Ray would have them give way to everything else.
    "RAY_worker_niceness": "0",
    # A replica's own threads compute, so its calls need none of their own.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # Else whatever of Ray still runs here after the end would start another cluster.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}


def folder_files(card: ModelCard) -> dict[str, bytes]:
    """The files of a model's folder that computing needs, by relative path."""
    names = [MODEL_FILE, GRAPH_FILE, NETWORK_FILE]
    names += [name for name in (CALIBRATION_FILE,) if (card.path / name).exists()]
    names += [str(Path(BOTTLENECKS_FOLDER, of.file.path.name)) for of in card.bottlenecks]
    return {name: (card.path / name).read_bytes() for name in names}


class RayCluster:
    """A model's replicas, from the connection to the cluster to their end. For several threads.

    Frames and answers are pickled between this process and the replicas: whoever is let into a Ray
    cluster can run anything there anyway (docs/ray.md, "Security"). What cars send stays bytes
    until a replica has checked it.
    """

    def __init__(
        self,
        card: ModelCard,
        settings: RaySettings,
        options: ReplicaOptions | None = None,
        name: str = "edge",
    ) -> None:
        """Connect, start the replicas and wait until they have loaded the model.

        Args:
            card: the model.
            settings: how many, and where.
            options: how they compute.
            name: of whom they are; another with the same name and host takes their place.

        Raises:
            EngineError: if there is no Ray, no such cluster, or no room for them on it.
        """
        self.settings = settings
        self._options = options or ReplicaOptions()
        self._own = not settings.ray
        self._handle: Any = None
        self._app = "-".join(["dapdee", platform.node(), name.strip("/").replace("/", "-")])
        with _own_signals():
            self._ray, self._serve = _imported()
            self._connect()
        try:
            self._check_room()
            self._deploy(folder_files(card))
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        settings, threads = self.settings, self._options.threads
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
        try:
            if self._own:
                self._ray.init(
                    address="local",
                    num_cpus=max(os.cpu_count() or 1, settings.most_replicas * threads),
                    object_store_memory=_STORE_BYTES,
                    include_dashboard=False,
                    # Nobody else on the network shall reach it.
                    _node_ip_address="127.0.0.1",
                    **quiet,
                )
            else:
                _knock(settings.ray)
                self._ray.init(address=settings.ray, **quiet)
        except (OSError, RuntimeError, ValueError, self._ray.exceptions.RayError) as error:
            where = "on this machine" if self._own else f"at {settings.ray!r}"
            raise EngineError(
                f"there is no Ray cluster {where}: {error}; start one with `ray start --head` and "
                "see docs/ray.md"
            ) from error
        logging.getLogger("ray").setLevel(logging.WARNING)

    def _check_room(self) -> None:
        """Raise EngineError if the replicas cannot all be placed; Ray would wait for ever."""
        there = self._ray.cluster_resources()
        wanted = {"CPU": self._options.threads, "GPU": self._gpus}
        for resource, each in wanted.items():
            needed = each * self.settings.ray_replicas
            if needed > there.get(resource, 0):
                raise EngineError(
                    f"the Ray cluster has {there.get(resource, 0):g} {resource}s, "
                    f"{self.settings.ray_replicas} replicas (ray_replicas) with {each} each need "
                    f"{needed}: add machines, or lower ray_replicas or threads"
                )

    @property
    def _gpus(self) -> int:
        return int(self._options.provider in _GPU_PROVIDERS)

    def _deploy(self, files: Mapping[str, bytes]) -> None:
        settings, serve = self.settings, self._serve
        count: dict[str, Any] = {"num_replicas": settings.ray_replicas}
        if settings.most_replicas > settings.ray_replicas:
            count = {
                "autoscaling_config": {
                    "min_replicas": settings.ray_replicas,
                    "max_replicas": settings.most_replicas,
                    "target_ongoing_requests": _TARGET * settings.ray_in_flight,
                    "upscale_delay_s": 2.0,
                    "downscale_delay_s": settings.ray_idle_s,
                    "look_back_period_s": 2.0,
                    "metrics_interval_s": 1.0,
                }
            }
        deployment = serve.deployment(
            TailReplica,
            name=_DEPLOYMENT,
            max_ongoing_requests=settings.ray_in_flight,
            max_queued_requests=settings.ray_queued,
            ray_actor_options={"num_cpus": self._options.threads, "num_gpus": self._gpus},
            # A dead replica is replaced after this long.
            health_check_period_s=1.0,
            health_check_timeout_s=30.0,
            graceful_shutdown_wait_loop_s=0.2,
            graceful_shutdown_timeout_s=10.0,
            logging_config={"enable_access_log": False},
            **count,
        )
        # By reference, so that every machine reads them once.
        self._files = self._ray.put(dict(files))
        application = deployment.bind(self._files, self._options)
        serve.start(proxy_location="Disabled")
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        started = _InTime(
            lambda: serve.run(application, name=self._app, route_prefix=None), "ray start"
        )
        handle = started.result(START_S, self._why_not_started)
        self._handle = handle
        self._finish = handle.options(method_name="finish")
        self._prepare = handle.options(method_name="prepare")
        self._profile = handle.options(method_name="profile")

    def _why_not_started(self) -> str:
        with contextlib.suppress(Exception):
            status = self._serve.status().applications[self._app]
            deployment = status.deployments.get(_DEPLOYMENT)
            said = [status.message, deployment.message if deployment else ""]
            return f"{status.status}: {' '.join(filter(None, said))}"
        return "the cluster says nothing of them"

    def profile(self) -> tuple[DeviceProfile, str]:
        """The profile of one replica's machine, and the engine there.

        Raises:
            EngineError: if it cannot be measured.
            ProfileError: if it makes no sense.
        """
        try:
            values, engine = self._profile.remote().result(timeout_s=_PROFILE_S)
        except Exception as error:
            raise EngineError(f"a replica could not measure its machine: {error}") from error
        return DeviceProfile.from_dict(values), engine

    @property
    def running(self) -> int:
        """Replicas that take frames now.

        Raises:
            EngineError: if the cluster does not say.
        """
        try:
            application = self._serve.status().applications[self._app]
            states = application.deployments[_DEPLOYMENT].replica_states
        except Exception as error:  # Ray's have no common class
            raise EngineError(f"the Ray cluster does not tell its replicas: {error}") from error
        return sum(n for state, n in states.items() if getattr(state, "value", state) == _RUNNING)

    def finish(self, frames: Sequence[HeadFrame], within_s: float) -> Finished:
        """Have frames of one part computed; waits for it.

        A replica that dies with them has them computed by another one, once: a frame that kills
        replicas shall not kill them all.

        Args:
            frames: the frames.
            within_s: how long to wait.

        Raises:
            FrameRefused: if nobody computes them; why.
        """
        exceptions = self._ray.exceptions
        until_s = time.monotonic() + within_s
        for again in (True, False):
            call = self._finish.remote(frames)
            try:
                left_s = max(_LEAST_WAIT_S, until_s - time.monotonic())
                finished: Finished = call.result(timeout_s=left_s)
                return finished
            except self._serve.exceptions.BackPressureError as error:
                raise FrameRefused(Status.BUSY, BUSY_REPLICAS) from error
            except TimeoutError as error:
                call.cancel()
                raise FrameRefused(Status.BUSY, BUSY_WAITED) from error
            except (exceptions.RayActorError, exceptions.WorkerCrashedError) as error:
                if not again:
                    reason = f"two replicas died: {type(error).__name__}"
                    raise FrameRefused(Status.ERROR, reason) from error
                log.warning("a replica died; its frame %d is given to another", frames[0].number)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                raise FrameRefused(Status.ERROR, reason) from error
        raise AssertionError("unreachable")

    def prepare(self, frame: HeadFrame, count: int, *, batches: bool = False) -> bool:
        """Have replicas compile what frames like this one need.

        Calls go to those that have the least to do; so ``count`` of them mostly reach as many.

        Returns:
            Whether all of them can, and in batches if that is asked for; True if none answers.
        """
        calls = [self._prepare.remote(frame, batches) for _ in range(count)]
        answers = []
        for call in calls:
            with contextlib.suppress(Exception):  # those that matter are told when it is computed
                answers.append(bool(call.result(timeout_s=START_S)))
        return all(answers)

    def close(self) -> None:
        """End the replicas, and the cluster if it was started here."""
        with contextlib.suppress(Exception):
            _InTime(self._handle.shutdown, "ray handle").result(2.0, str)
        if not self._own:
            with contextlib.suppress(Exception):
                _InTime(lambda: self._serve.delete(self._app), "ray end").result(5.0, str)
        with _own_signals():
            self._ray.shutdown()


class _InTime:
    """A call on a thread of its own, which may be left behind."""

    def __init__(self, call: Any, name: str) -> None:
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self, within_s: float, why_not: Any) -> Any:
        """What it returned.

        Raises:
            EngineError: what it raised, or that it took longer, with what ``why_not`` returns.
        """
        self._thread.join(within_s)
        if self._thread.is_alive():
            raise EngineError(f"the replicas have not started in {within_s:.0f} s: {why_not()}")
        if self._error is not None:
            raise EngineError(f"the replicas cannot start: {self._error}") from self._error
        return self._result


def _imported() -> tuple[Any, Any]:
    """The modules ray and ray.serve.

    Raises:
        EngineError: if they are not installed; names the extra.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
        import ray.serve.exceptions
        from ray import serve
    except ImportError as error:
        raise EngineError(f"the engine {RAY!r} {RAY_MISSING} ({error})") from error
    return ray, serve


def _knock(address: str) -> None:
    """Raise OSError if nobody listens at host:port: Ray would try for minutes, deaf to signals."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's signal handlers: Ray replaces that of SIGTERM."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)
