"""How well the image can be restored from what crosses the link, as attacks have measured it.

No torch in here. The numbers are in ``privacy.json`` beside the model, written by `dapdee privacy`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dapdee_ros.codecs.bottleneck.file import is_point
from dapdee_ros.graph.dag import ModelDag

PRIVACY_FILE = "privacy.json"
FORMAT = 1
MOST_ATTACKS = 2000
MOST_FILE_BYTES = 2 << 20

THE_IMAGE = 1.0
"""The exposure of the image itself, and of tensors that may hold all of it."""

UNMEASURED = 1 - 1e-9
"""The exposure of what nobody has attacked: below the image's, above everything measured."""

_PLAIN = "f32"
_MOST_PSNR_DB = 200.0


class ExposureError(ValueError):
    """A file of measured attacks that cannot be used; the message says why."""


@dataclass(frozen=True)
class Attack:
    """What an attack restored from a boundary as it arrived.

    Attributes:
        boundary: names of the tensors, in the order of the DAG.
        codec: what they were coded with; of a bottleneck's point the latent was attacked.
        psnr_db: mean peak signal-to-noise ratio of the restored frames.
        ssim: their mean structural similarity, -1 to 1.
        bottleneck: id of the file, of a bottleneck's point; else empty.
    """

    boundary: tuple[str, ...]
    codec: str
    psnr_db: float
    ssim: float
    bottleneck: str = ""

    def __post_init__(self) -> None:
        # Written so that NaN is refused, too.
        if not (abs(self.psnr_db) <= _MOST_PSNR_DB and -1 <= self.ssim <= 1):
            raise ExposureError(
                f"an attack on {'+'.join(self.boundary)[:80]} as {self.codec[:40]} restored "
                f"{self.psnr_db} dB, SSIM {self.ssim}: no such numbers"
            )
        if not self.boundary:
            raise ExposureError("an attack names no boundary")


@dataclass(frozen=True)
class Exposures:
    """The attacks on a model's boundaries, and what follows from them for all others.

    Attributes:
        attacks: as measured.
        data: description of the frames.
        frames: how many of them were restored.
        steps: of each attack's training.
    """

    attacks: tuple[Attack, ...] = ()
    data: str = ""
    frames: int = 0
    steps: int = 0
    _ssim: Mapping[tuple[tuple[str, ...], str], float] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        known = {(attack.boundary, attack.codec): attack.ssim for attack in self.attacks}
        object.__setattr__(self, "_ssim", known)

    def with_attack(self, attack: Attack) -> tuple[Attack, ...]:
        """The attacks with this one, in place of an earlier one on the same."""
        key = (attack.boundary, attack.codec)
        return (*(a for a in self.attacks if (a.boundary, a.codec) != key), attack)

    def of_files(self, ids: Mapping[str, str]) -> Exposures:
        """Without the attacks on bottlenecks of which there is another file by now, or none.

        Args:
            ids: of each bottleneck's point the id of its file.
        """
        attacks = [
            a for a in self.attacks if not is_point(a.codec) or ids.get(a.codec) == a.bottleneck
        ]
        return Exposures(tuple(attacks), self.data, self.frames, self.steps)

    @property
    def tensors(self) -> frozenset[str]:
        """All tensors that were attacked."""
        return frozenset(name for attack in self.attacks for name in attack.boundary)

    def of(self, dag: ModelDag, boundary: Sequence[str], codec: str) -> float:
        """How well the image can be restored from a boundary, 0 to 1 (structural similarity).

        What an attack restored from this boundary with this codec; of a bottleneck's point, from
        its latent, which is what is sent. Where nobody has tried, whatever bounds it: coding can
        only lose, so the boundary without a codec does, and so does a single tensor through which
        all of the boundary comes. From such a tensor at least as much can be restored as an attack
        restored from anything that is computed from it.

        Args:
            dag: the network that the boundary belongs to.
            boundary: names of the tensors.
            codec: what they are coded with.

        Returns:
            ``THE_IMAGE`` if the image itself is sent, or a tensor that may hold all of it
            (``ModelDag.image_forms``), unless a bottleneck makes a latent of it that was attacked;
            ``UNMEASURED`` if nothing is known; 0 if nothing is sent.
        """
        names = tuple(boundary)
        if not names:
            return 0.0
        if len(names) > 1:
            names = tuple(node.name for node in dag.nodes if node.name in names)
        own = self._ssim.get((names, codec))
        if dag.image_forms.intersection(names) and (own is None or not is_point(codec)):
            return THE_IMAGE
        if own is not None and codec != _PLAIN:
            return min(UNMEASURED, max(0.0, own))
        bounds = [
            self._plain(dag, attacked)
            for attacked in {attack.boundary for attack in self.attacks if attack.codec == _PLAIN}
            if dag.image_forms.isdisjoint(attacked)
            and (attacked == names or (len(attacked) == 1 and _passes(dag, attacked[0], names)))
        ]
        return min(UNMEASURED, max(0.0, min(bounds))) if bounds else UNMEASURED

    def _plain(self, dag: ModelDag, boundary: tuple[str, ...]) -> float:
        """The most that was restored from a boundary, or from what is computed from it."""
        return max(
            attack.ssim
            for attack in self.attacks
            if attack.boundary == boundary
            or (len(boundary) == 1 and _passes(dag, boundary[0], attack.boundary))
        )

    def to_dict(self, model_id: str) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {
            "format": FORMAT,
            "model_id": model_id,
            "data": self.data,
            "frames": self.frames,
            "steps": self.steps,
            "attacks": [
                {
                    "boundary": list(attack.boundary),
                    "codec": attack.codec,
                    "psnr_db": round(attack.psnr_db, 3),
                    "ssim": round(attack.ssim, 4),
                    **({"bottleneck": attack.bottleneck} if attack.bottleneck else {}),
                }
                for attack in self.attacks
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], model_id: str, names: Iterable[str]) -> Exposures:
        """Build it from ``to_dict``'s values.

        Args:
            values: of a JSON object.
            model_id: the model that they have to be about.
            names: of its tensors.

        Raises:
            ExposureError: if they are of another model, or make no sense.
        """
        try:
            if values["format"] != FORMAT:
                raise ExposureError(f"format {values['format']!r}, this version reads {FORMAT}")
            if values["model_id"] != model_id:
                raise ExposureError(
                    f"it is of model {str(values['model_id'])[:40]!r}, not of this one "
                    f"({model_id!r})"
                )
            rows = values["attacks"]
            if not isinstance(rows, list) or len(rows) > MOST_ATTACKS:
                raise ExposureError(f"expected a list of at most {MOST_ATTACKS} attacks")
            attacks = tuple(
                Attack(
                    tuple(str(name) for name in row["boundary"]),
                    str(row["codec"]),
                    float(row["psnr_db"]),
                    float(row["ssim"]),
                    str(row.get("bottleneck", "")),
                )
                for row in rows
            )
            found = cls(attacks, str(values["data"]), int(values["frames"]), int(values["steps"]))
        except ExposureError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ExposureError(
                f"an entry is missing or of the wrong kind: {type(error).__name__}: {error}"
            ) from error
        if unknown := found.tensors - set(names):
            raise ExposureError(f"the model has no tensor {sorted(unknown)[0][:80]!r}")
        return found


NOT_ATTACKED = Exposures()
"""Of a model that nobody has attacked."""


def _passes(dag: ModelDag, through: str, names: Sequence[str]) -> bool:
    """Whether everything that reaches some tensors from the input comes through one tensor."""
    if through not in dag.by_name:
        return False
    waiting, seen = list(names), {through}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        if name == dag.input:
            return False
        seen.add(name)
        waiting += dag.by_name[name].inputs
    return True


def allowed_exposure(keep_raw_on_car: bool, most_ssim: float) -> float:
    """The highest exposure that a plan may have.

    Args:
        keep_raw_on_car: whether the image has to stay on the car.
        most_ssim: 1 forbids the image and what may hold all of it; anything lower also what an
            attack restored better than that, and what nobody has attacked.

    >>> allowed_exposure(False, 0.4), allowed_exposure(True, 0.4), allowed_exposure(True, 1.0) < 1
    (inf, 0.4, True)
    """
    return min(most_ssim, UNMEASURED) if keep_raw_on_car else math.inf
