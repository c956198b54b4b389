"""The cost of encoding a boundary, measured on held-out frames. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Changes = Mapping[int, tuple[int, int]]


class CodedTensor(NamedTuple):
    """One tensor with one codec, averaged over frames.

    Attributes:
        coded_bytes: size on the wire. The mean, not a high percentile, because it also has to
            serve the expected latency and the period; between frames it varies by less than a
            link's rate does.
        encode_share: time to code it, over the time that the whole network (all exits) takes on
            the same machine and thread. Seconds would only be true for the machine that
            calibrated; the ratio carries over to a car and to an edge server with their profiles.
        decode_share: the same for decoding it.
        changes: for each exit that can follow from this tensor alone: how many frames were right
            without the codec and wrong with it, and how many the other way round; of a task whose
            answers are neither, as many as make the same change in quality.
    """

    coded_bytes: float
    encode_share: float
    decode_share: float
    changes: Changes


@dataclass(frozen=True)
class CodecLosses:
    """Codecs as they were measured on the boundaries that a plan may send.

    Attributes:
        frames: number of frames.
        tensors: for each codec name and boundary tensor what was measured.

    Raises:
        ValueError: at construction, if a number is impossible.
    """

    frames: int = 0
    tensors: Mapping[str, Mapping[str, CodedTensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for codec, of_codec in self.tensors.items():
            for name, coded in of_codec.items():
                numbers = coded[:3]
                if not all(math.isfinite(v) and v >= 0 for v in numbers) or not coded.coded_bytes:
                    raise ValueError(f"codec {codec} at {name!r}: sizes and times are {numbers}")
                for number, (lost, won) in coded.changes.items():
                    if number < 1 or lost < 0 or won < 0 or lost + won > self.frames:
                        raise ValueError(
                            f"codec {codec} at {name!r}: exit {number} lost {lost} and won {won} "
                            f"of {self.frames} frames"
                        )

    def loss(self, codec: str, name: str, exit_number: int) -> float | None:
        """Quality that an exit loses when this tensor alone is sent through a codec.

        The same frames were classified with and without the codec, so all that matters is on how
        many the two disagree (Q. McNemar, "Note on the sampling error of the difference between
        correlated proportions or percentages", Psychometrika 1947): the difference of ``lost`` and
        ``won`` frames has a standard deviation of at most ``sqrt(lost + won)``. A loss within it
        counts as zero; otherwise a single frame would decide between two codecs.

        Returns:
            The loss, 0 to 1; None if it was not measured.
        """
        coded = self.tensors.get(codec, {}).get(name)
        if coded is None or exit_number not in coded.changes:
            return None
        lost, won = coded.changes[exit_number]
        return (lost - won) / self.frames if lost - won > math.sqrt(lost + won) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {
            "frames": self.frames,
            "tensors": {
                codec: {
                    name: [*coded[:3], {str(n): list(pair) for n, pair in coded.changes.items()}]
                    for name, coded in of_codec.items()
                }
                for codec, of_codec in self.tensors.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CodecLosses:
        """Build it from ``to_dict``'s values; an empty mapping means that nothing was measured.

        Raises:
            KeyError: if something is missing.
            TypeError: if something is of the wrong kind.
            ValueError: if a number is impossible.
        """
        if not values:
            return cls()
        if "tensors" not in values:
            raise ValueError(
                f"codecs {sorted(values)} without their boundaries; run `dapdee calibrate` again"
            )
        return cls(
            int(values["frames"]),
            {
                str(codec): {
                    str(name): CodedTensor(
                        float(size),
                        float(encode),
                        float(decode),
                        {int(n): (int(lost), int(won)) for n, (lost, won) in changes.items()},
                    )
                    for name, (size, encode, decode, changes) in of_codec.items()
                }
                for codec, of_codec in values["tensors"].items()
            },
        )
