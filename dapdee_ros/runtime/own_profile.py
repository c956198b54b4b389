"""This machine's profile of a model: measured once, then cached under the user's ROS home."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.files import own_files
from dapdee_ros.planning.device_profile import FORMAT, CodecTime, DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.sites import CAR

if TYPE_CHECKING:
    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.runtime.split_network import RunnableModel

log = logging.getLogger(__name__)


def own_profile(
    model: RunnableModel,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    *,
    side: str = CAR,
    complete: Callable[[DeviceProfile], DeviceProfile] = lambda profile: profile,
) -> DeviceProfile:
    """The profile of a model on this machine, from the cache or measured now.

    Args:
        model: the loaded model, with the engine that computes it.
        threads: inference threads.
        progress: called with steps done and steps to do while measuring.
        side: what this machine is, ``car`` or ``edge``; each has a profile of its own.
        complete: adds to a new profile what is measured elsewhere, before it is cached.

    Raises:
        ProfileError: if the model could not be measured.
        BottleneckError: naming the bottleneck that cannot be used.
    """
    from dapdee_ros.runtime.bottleneck_times import are_timed, with_bottlenecks
    from dapdee_ros.runtime.profiling import device_name, measure_engine

    device = f"{platform.node()}: {device_name()}, {os.cpu_count()} cores"
    key = hashlib.sha256(
        f"{FORMAT} {side} {device} {threads} {model.engine.name}".encode()
    ).hexdigest()[:12]
    path = own_files() / "profiles" / f"{model.card.model_id[:16]}-{key}.json"
    try:
        profile = DeviceProfile.load(path)
        profile.check_fits((n.name for n in model.card.dag.nodes), model.card.model_id)
        completed = profile if profile.overhead.any else complete(profile)
        if not are_timed(completed, model.card):
            # They may have been added, or trained again, since.
            completed = with_bottlenecks(completed, model)
        if completed is not profile:
            _keep(completed, path)
        return completed
    except ProfileError as error:
        if path.exists():
            log.warning("measuring again, the cached profile cannot be used: %s", error)
    profile = measure_engine(
        model.engine,
        model_id=model.card.model_id,
        device=device,
        threads=threads,
        progress=progress,
    )
    profile = replace(profile, codecs=codecs_here(model.card))
    profile = complete(with_bottlenecks(profile, model))
    _keep(profile, path)
    return profile


def _keep(profile: DeviceProfile, path: Path) -> None:
    try:
        profile.save(path)
    except OSError as error:
        log.warning("the profile cannot be cached: %s", error)


def codecs_here(card: ModelCard) -> dict[str, CodecTime]:
    """What the codecs take here that the model can be planned with."""
    from dapdee_ros.planning.wire_codecs import AS_IS
    from dapdee_ros.runtime.codec_times import codec_times

    measured = card.calibration.codecs if card.calibration else None
    return codec_times([AS_IS, *(measured.tensors if measured else ())])
