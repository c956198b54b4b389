"""The time of each operator of one model on one device: the basis of planning."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from dapdee_ros.files import write_whole
from dapdee_ros.graph.dag import Node
from dapdee_ros.planning.cost import FREE, EnergyPrices
from dapdee_ros.planning.errors import PlanningError, ProfileError
from dapdee_ros.planning.overhead import MOST_FIXED_S, MOST_S_PER_BYTE, NO_OVERHEAD, Overhead

FORMAT = 2
"""Of the files. Those without a number hold neither an engine nor overheads."""

_LEAST_TOTAL_S, _MOST_TOTAL_S = 1e-6, 3600.0
_LEAST_NODE_S = 1e-12


class CodecTime(NamedTuple):
    """What a codec takes for a tensor on one machine: seconds, and seconds per byte in memory."""

    encode_s: float
    encode_s_per_byte: float
    decode_s: float
    decode_s_per_byte: float

    def encoding_s(self, tensor_bytes: int) -> float:
        """Seconds to encode a tensor of that size in memory."""
        return self.encode_s + self.encode_s_per_byte * tensor_bytes

    def decoding_s(self, tensor_bytes: int) -> float:
        """Seconds to decode it."""
        return self.decode_s + self.decode_s_per_byte * tensor_bytes


def codec_times_in(names: Sequence[str], seconds: Sequence[float]) -> dict[str, CodecTime]:
    """Codecs' times as a message holds them: of each name, all four.

    Raises:
        ProfileError: if there are not four of each, or a codec is named twice.
    """
    width = len(CodecTime._fields)
    if len(seconds) != width * len(names) or len(set(names)) < len(names):
        raise ProfileError(f"{len(seconds)} seconds of {len(names)} codecs, expected {width} each")
    return {
        name: CodecTime(*map(float, seconds[width * k : width * (k + 1)]))
        for k, name in enumerate(names)
    }


@dataclass(frozen=True)
class DeviceProfile:
    """Measured seconds per node of a model on one device, unloaded.

    Attributes:
        model_id: hash of structure and weights of the model that was measured.
        device: description of the machine.
        threads: compute threads that were used.
        node_seconds: seconds per run for every node, by node name; the input costs 0.
        created: date and time of the measurement, ISO 8601.
        versions: software that matters (``torch``, ``python``) with its version.
        note: remarks, such as a CPU quota.
        engine: what computed it, with its version; empty where that is not known.
        overhead: what a frame costs this machine beside the network, measured on its own; 0 where
            that is not known.
        cut_s: what each tensor of a boundary costs a head or a tail, in addition to its nodes:
            what the engine saves by fusing and by its own layouts ends at a cut. The input is free.
        cut_s_per_byte: the same per byte of the tensor.
        codecs: what codecs take here, by name; of one that is not in it calibration's share of the
            network's time counts.
        energy: what computing, sending and waiting cost this machine in joules; 0 where that is not
            known.

    Raises:
        ProfileError: at construction, if a time is negative or not finite, ``threads`` is below 1,
            or there is no model id.
    """

    model_id: str
    device: str
    threads: int
    node_seconds: Mapping[str, float]
    created: str
    versions: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    engine: str = ""
    overhead: Overhead = NO_OVERHEAD
    cut_s: float = 0.0
    cut_s_per_byte: float = 0.0
    codecs: Mapping[str, CodecTime] = field(default_factory=dict)
    energy: EnergyPrices = FREE

    def __post_init__(self) -> None:
        if not self.model_id:
            raise ProfileError("a device profile needs the id of the model it was measured with")
        if self.threads < 1:
            raise ProfileError(f"a profile is measured with 1 thread or more, not {self.threads}")
        if not self.node_seconds:
            raise ProfileError("a device profile needs the seconds of at least one node")
        for name, seconds in self.node_seconds.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ProfileError(
                    f"node {name!r} of the profile of {self.device!r} takes {seconds} s; "
                    "expected a finite number of 0 or more: measure again"
                )

        for name, most in (("cut_s", MOST_FIXED_S), ("cut_s_per_byte", MOST_S_PER_BYTE)):
            if not 0 <= getattr(self, name) <= most:
                raise ProfileError(
                    f"{name} of the profile of {self.device!r} is {getattr(self, name)}; expected "
                    f"0 to {most:g}"
                )

        for codec, times in self.codecs.items():
            if not all(
                0 <= seconds <= most
                for seconds, most in zip(times, 2 * (MOST_FIXED_S, MOST_S_PER_BYTE), strict=True)
            ):
                raise ProfileError(
                    f"codec {codec!r} of the profile of {self.device!r} takes {tuple(times)}; "
                    f"expected 0 to {MOST_FIXED_S:g} s and {MOST_S_PER_BYTE:g} s per byte"
                )

    def boundary_s(self, nodes: Iterable[Node]) -> float:
        """What cutting behind these nodes costs a head or a tail, in s."""
        computed = [node.output_bytes for node in nodes if node.inputs]
        return self.cut_s * len(computed) + self.cut_s_per_byte * sum(computed)

    @property
    def total_s(self) -> float:
        """Seconds of all nodes together, all exits included."""
        return sum(self.node_seconds.values())

    def check_fits(self, node_names: Iterable[str], model_id: str | None = None) -> None:
        """Check that this profile belongs to a model.

        Args:
            node_names: all nodes of the model's DAG.
            model_id: the model's id; None checks the nodes only.

        Raises:
            ProfileError: if the ids differ or a node has no time.
        """
        if model_id is not None and model_id != self.model_id:
            raise ProfileError(
                f"the profile of {self.device!r} was measured with model {self.model_id}, the "
                f"model here is {model_id}: run `dapdee profile` for this model"
            )
        missing = [name for name in node_names if name not in self.node_seconds]
        if missing:
            shown = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise ProfileError(
                f"the profile of {self.device!r} has no time for {len(missing)} nodes of the "
                f"model ({shown}): it was measured with another model, measure again"
            )

    def check_credible(self) -> None:
        """Check that its times are plausible: for profiles received from elsewhere.

        Raises:
            ProfileError: if the network takes no time, or hours, or a node takes a time that no
                clock can tell from none.
        """
        if not _LEAST_TOTAL_S <= self.total_s <= _MOST_TOTAL_S:
            raise ProfileError(
                f"the whole network is said to take {self.total_s} s on {self.device!r}, expected "
                f"{_LEAST_TOTAL_S:g} to {_MOST_TOTAL_S:g} s"
            )
        for name, seconds in self.node_seconds.items():
            if 0 < seconds < _LEAST_NODE_S:
                raise ProfileError(
                    f"node {name!r} is said to take {seconds} s on {self.device!r}, expected 0 or "
                    f"at least {_LEAST_NODE_S:g} s"
                )

    def to_dict(self) -> dict[str, Any]:
        """The profile as plain JSON values; ``from_dict`` reads it back."""
        values = asdict(self)
        values["node_seconds"] = dict(self.node_seconds)
        values["versions"] = dict(self.versions)
        values["codecs"] = {name: list(times) for name, times in self.codecs.items()}
        return {"format": FORMAT, **values}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DeviceProfile:
        """Build a profile from ``to_dict``'s values.

        Raises:
            ProfileError: if a key is missing or of the wrong kind, or a time is impossible.
        """
        try:
            if int(data.get("format", 1)) > FORMAT:
                raise ProfileError(
                    f"it has format {data['format']}, this version reads up to {FORMAT}: measure "
                    "again, or update"
                )
            return cls(
                model_id=str(data["model_id"]),
                device=str(data["device"]),
                threads=int(data["threads"]),
                node_seconds={str(k): float(v) for k, v in dict(data["node_seconds"]).items()},
                created=str(data["created"]),
                versions={str(k): str(v) for k, v in dict(data.get("versions", {})).items()},
                note=str(data.get("note", "")),
                engine=str(data.get("engine", "")),
                overhead=Overhead(
                    **{str(k): float(v) for k, v in dict(data.get("overhead", {})).items()}
                ),
                cut_s=float(data.get("cut_s", 0.0)),
                cut_s_per_byte=float(data.get("cut_s_per_byte", 0.0)),
                codecs={
                    str(name): CodecTime(*map(float, times))
                    for name, times in dict(data.get("codecs", {})).items()
                },
                energy=EnergyPrices(**dict(data.get("energy", {}))),
            )
        except ProfileError:
            raise
        except PlanningError as error:
            raise ProfileError(f"not a device profile: energy: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ProfileError(
                f"not a device profile: {type(error).__name__}: {error}; expected what "
                "`dapdee profile` writes"
            ) from error

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON, atomically.

        Raises:
            FileError: if it cannot be written.
        """
        write_whole(Path(path), json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> DeviceProfile:
        """Read a profile that ``save`` wrote.

        Raises:
            ProfileError: if the file cannot be read or is not a profile.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProfileError(f"cannot read a device profile from {path}: {error}") from error
        if not isinstance(data, dict):
            raise ProfileError(f"{path} is not a device profile: expected a JSON object")
        try:
            return cls.from_dict(data)
        except ProfileError as error:
            raise ProfileError(f"{path}: {error}") from error
