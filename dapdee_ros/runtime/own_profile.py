"""This machine's profile of a model: measured once, then cached under the user's ROS home."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING

from dapdee_ros.files import own_files
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError

if TYPE_CHECKING:
    from dapdee_ros.runtime.split_network import RunnableModel

log = logging.getLogger(__name__)


def own_profile(
    model: RunnableModel,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> DeviceProfile:
    """The profile of a model on this machine, from the cache or measured now.

    Args:
        model: the loaded model, with the engine that computes it.
        threads: inference threads.
        progress: called with steps done and steps to do while measuring.

    Raises:
        ProfileError: if the model could not be measured.
    """
    from dapdee_ros.runtime.profiling import device_name, measure_engine

    device = f"{platform.node()}: {device_name()}, {os.cpu_count()} cores"
    key = hashlib.sha256(f"{device} {threads} {model.engine.name}".encode()).hexdigest()[:12]
    path = own_files() / "profiles" / f"{model.card.model_id[:16]}-{key}.json"
    try:
        profile = DeviceProfile.load(path)
        profile.check_fits((n.name for n in model.card.dag.nodes), model.card.model_id)
        return profile
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
    try:
        profile.save(path)
    except OSError as error:
        log.warning("the profile cannot be cached: %s", error)
    return profile
