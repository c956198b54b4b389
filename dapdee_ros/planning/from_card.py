"""A planning problem from a model folder and two profiles, for offline tools."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dapdee_ros.exits.bottlenecks import asked_codecs, model_codecs
from dapdee_ros.exits.card import ModelCard
from dapdee_ros.planning.codec_cost import TensorCost
from dapdee_ros.planning.conditions import ModelMeasures
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.gate_options import gate_options
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.wire_codecs import wire_codecs
from dapdee_ros.tasks.task import task_of

ASSUMED_QUALITY = "nobody has measured the quality of its exits; deeper ones count as better"
"""What there is to say of a model whose ``quality_known`` is false."""


def problem_of(
    card: ModelCard,
    car: DeviceProfile,
    edge: DeviceProfile,
    codecs: Sequence[str],
    camera: TensorCost | None = None,
    *,
    announced: bool = False,
) -> Problem:
    """Put a model, two devices, codecs and the calibrated gates together.

    Codecs that calibration has not measured are left out, and so is ``camera`` unless it is said
    what that costs, and bottlenecks of which a profile holds no times if they have to be
    ``announced``. Codecs may be named in groups (``exits.bottlenecks.asked_codecs``).

    Raises:
        ProfileError: if a profile is of another model.
        CodecError: if a codec is unknown.
    """
    for profile in (car, edge):
        profile.check_fits((node.name for node in card.dag.nodes), card.model_id)
    return Problem(
        card.dag,
        (car, edge),
        exit_quality(card),
        wire_codecs(
            card.dag,
            asked_codecs(card, codecs),
            card.calibration,
            car_s=car.total_s,
            edge_s=edge.total_s,
            car_times=car.codecs,
            edge_times=edge.codecs,
            camera=camera,
            bottlenecks=card.bottlenecks,
            announced=announced,
        ),
        gate_options(card.calibration) if card.calibration else (),
        quality_name=task_of(card).quality_name,
        exposures=card.exposures,
    )


def measures_of(card: ModelCard, codecs: Sequence[str] | None = None) -> ModelMeasures:
    """A model's measurements, for callers without device profiles.

    Args:
        card: the model.
        codecs: names of codecs or groups; None takes all that the model has.

    Raises:
        CodecError: if a codec is unknown.
    """
    return ModelMeasures(
        card.dag,
        exit_quality(card),
        wire_codecs(
            card.dag,
            model_codecs(card) if codecs is None else asked_codecs(card, codecs),
            card.calibration,
            camera=TensorCost(0.0),
            bottlenecks=card.bottlenecks,
        ),
        gate_options(card.calibration) if card.calibration else (),
        card.exposures,
    )


def quality_known(card: ModelCard) -> bool:
    """Whether anybody has measured the exits; otherwise only their order is assumed."""
    return card.quality_measured or card.calibration is not None


def exit_quality(card: ModelCard) -> tuple[float, ...]:
    """Quality of each exit, on the frames that gates and codecs were calibrated on if they were.

    Otherwise a gate's quality on one set of frames would be compared with an exit's on another.
    """
    return card.calibration.exit_quality if card.calibration else card.exit_quality


def sample_profiles(model_id: str) -> list[DeviceProfile]:
    """The bundled profiles of this model, the slowest device first.

    Looked for in ``share/dapdee_ros/config/profiles`` under each entry of ``AMENT_PREFIX_PATH`` and
    under this Python's prefix, and in the source tree.
    """
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    homes = [Path(p) / "share" / "dapdee_ros" for p in [*prefixes, sys.prefix]]
    homes.append(Path(__file__).resolve().parents[2])
    found: dict[tuple[str, int, str], DeviceProfile] = {}
    for path in [p for home in homes for p in sorted(home.glob("config/profiles/**/*.json"))]:
        try:
            profile = DeviceProfile.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            # Ignore unrelated files in that folder.
            continue
        if profile.model_id == model_id:
            found.setdefault((profile.device, profile.threads, profile.created), profile)
    return sorted(found.values(), key=lambda profile: -profile.total_s)


def choose_profiles(
    card: ModelCard, car_path: str | None, edge_path: str | None
) -> tuple[DeviceProfile, DeviceProfile]:
    """The profiles to plan with: those given, else the slowest and the fastest bundled ones.

    Raises:
        ProfileError: if a file is none, or neither a file nor a sample profile is there.
    """
    samples = [] if car_path and edge_path else sample_profiles(card.model_id)
    chosen = []
    for role, path, position in (("car", car_path, 0), ("edge", edge_path, -1)):
        if path:
            chosen.append(DeviceProfile.load(path))
        elif samples:
            chosen.append(samples[position])
        else:
            raise ProfileError(
                f"no profile of the {role} for model {card.name} ({card.model_id}): measure one "
                f"with `dapdee profile` on that machine and give it with --{role}-profile"
            )
    return chosen[0], chosen[1]
