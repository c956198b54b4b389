"""A replica of a network on a Ray cluster: decodes and finishes what an edge server sends it.

It has the model's files from the edge server, so that a machine of the cluster needs this package
and nothing else. Frames come as they came from the car, still coded, and are checked and computed
by the same code as in the edge's own process. One thread computes; another one compiles parts, so
that frames of a new plan do not hold up those of others.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dapdee_ros.core.tail_events import BatchEnded, TailComputed, TailFailed
from dapdee_ros.engines.engine import Engine, EngineError, NotBatchable, warm_up
from dapdee_ros.engines.slow_engine import SlowEngine, slowed_down
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.files import write_whole
from dapdee_ros.planning.sites import EDGE
from dapdee_ros.runtime.finishing import (
    FrameRefused,
    finish_batch,
    outcome_of,
    part_of,
    program_of,
)
from dapdee_ros.runtime.own_profile import own_profile
from dapdee_ros.runtime.split_network import SplitNetwork

if TYPE_CHECKING:
    from dapdee_ros.core.frames import HeadFrame
    from dapdee_ros.runtime.tail_compiler import Part

log = logging.getLogger(__name__)


class ReplicaOptions(NamedTuple):
    """How replicas compute.

    Attributes:
        threads: threads of one run.
        provider: execution provider of ONNX Runtime.
        slowdown: factor on all times, to emulate a slower machine; 1: none.
    """

    threads: int = 1
    provider: str = "cpu"
    slowdown: float = 1.0


class Finished(NamedTuple):
    """What became of a run.

    Attributes:
        event: how it ended, but for its place.
        waited_s: seconds between its arrival at the replica and its beginning.
        possible: whether its frames could be computed together, if they are several.
    """

    event: TailComputed | TailFailed | BatchEnded
    waited_s: float
    possible: bool = True


class TailReplica:
    """A copy of a network, which calls over the cluster run.

    What it says of how much slower than profiled a frame was computed is left to the caller, who
    knows which profile was published.
    """

    def __init__(self, files: Any, options: ReplicaOptions) -> None:
        """Load the model.

        Args:
            files: reference to the files of its folder in Ray's object store: bytes by relative
                path.
            options: how to compute.

        Raises:
            ModelFolderError, EngineError: as ``load_runnable``.
        """
        import ray

        contents: Mapping[str, bytes] = ray.get(files)
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="dapdee-")
        for name, content in contents.items():
            write_whole(Path(self._folder.name, name), content)
        self._model = load_runnable(
            self._folder.name, threads=options.threads, provider=options.provider
        )
        warm_up(self._model.engine)
        engine: Engine = self._model.engine
        if options.slowdown > 1:
            engine = SlowEngine(engine, options.slowdown)
        self._network = SplitNetwork(self._model, engine=engine)
        self._together: dict[Part, bool] = {}
        self._failed: set[Part] = set()
        self._computing = ThreadPoolExecutor(1, "tail")
        self._compiling = ThreadPoolExecutor(1, "compiler")

    async def profile(self) -> tuple[dict[str, Any], str]:
        """This machine's profile of the model, as ``DeviceProfile.to_dict``, and the engine.

        It is measured once on every machine, while nothing else should run there.
        """
        return await self._on(self._computing, self._profile)

    async def prepare(self, frame: HeadFrame, batches: bool) -> bool:
        """Compile what frames like this one need; with ``batches`` also to run several at once.

        Returns:
            Whether the part can be computed, and in batches if that was asked for.
        """
        return await self._on(self._compiling, self._prepare, frame, batches)

    async def finish(self, frames: Sequence[HeadFrame]) -> Finished:
        """Check and compute frames of one part, together if there are several."""
        came_s = time.monotonic()
        if not self._is_ready(frames):
            await self._on(self._compiling, self._prepare, frames[0], len(frames) > 1)
        return await self._on(self._computing, self._finish, frames, came_s)

    async def _on(self, executor: ThreadPoolExecutor, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)

    def _profile(self) -> tuple[dict[str, Any], str]:
        profile = own_profile(self._model, self._options.threads, side=EDGE)
        if self._options.slowdown > 1:
            profile = slowed_down(profile, self._options.slowdown)
        return profile.to_dict(), self._model.engine.name

    def _is_ready(self, frames: Sequence[HeadFrame]) -> bool:
        """Whether nothing has to be compiled; so, too, for what will be refused."""
        frame, part = frames[0], part_of(self._network, frames[0])
        if part in self._failed:
            return True
        if len(frames) > 1 and part not in self._together:
            return False
        try:
            return self._network.tail_is_ready(program_of(self._network, frame), frame.codec)
        except FrameRefused:
            return True

    def _prepare(self, frame: HeadFrame, batches: bool) -> bool:
        network, part = self._network, part_of(self._network, frame)
        try:
            program = program_of(network, frame)
        except FrameRefused:
            return False  # whoever computes it learns why
        try:
            network.prepare_tail(program, part.decoder)
            if batches and part not in self._together:
                network.engine.prepare_batches(program.expected, program.outputs)
                self._together[part] = True
            return self._together[part] if batches else True
        except NotBatchable as error:
            log.info("exit %d: one frame at a time: %s", part.exit_number, error)
        except EngineError as error:
            log.error("exit %d cannot be computed: %s", part.exit_number, error)
            self._failed.add(part)
        except Exception:
            log.exception("exit %d could not be compiled", part.exit_number)
            self._failed.add(part)
        if batches:
            self._together[part] = False
        return False

    def _finish(self, frames: Sequence[HeadFrame], came_s: float) -> Finished:
        network = self._network
        waited_s = time.monotonic() - came_s
        if len(frames) == 1:
            return Finished(outcome_of(network, frames[0], time.monotonic), waited_s)
        if not self._together.get(part_of(network, frames[0])):
            alone = [outcome_of(network, frame, time.monotonic) for frame in frames]
            return Finished(BatchEnded(alone), waited_s, False)
        ended, possible = finish_batch(network, frames, time.monotonic)
        return Finished(ended, waited_s, possible)
