"""The cost of encoding a boundary, measured on held-out frames. No torch in here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_FORMAT = 2
"""Earlier files, which name no format, hold counts of frames that became wrong and right."""


class Change(NamedTuple):
    """What a codec makes of an exit's quality on the same frames.

    Attributes:
        lost: quality without the codec less quality with it, -1 to 1.
        error: standard error of it, 0 or more.
    """

    lost: float
    error: float

    @classmethod
    def counted(cls, lost: int, won: int, frames: int) -> Change:
        """Of answers that are right or wrong.

        The same frames were classified with and without the codec, so all that matters is on how
        many the two disagree (Q. McNemar, "Note on the sampling error of the difference between
        correlated proportions or percentages", Psychometrika 1947): the difference of ``lost`` and
        ``won`` frames has a standard deviation of at most ``sqrt(lost + won)``.

        Args:
            lost: frames that were right without the codec and are wrong with it.
            won: frames of which it is the other way round.
            frames: how many frames there are.

        Raises:
            ValueError: if the counts cannot be.
        """
        if lost < 0 or won < 0 or not 0 < frames >= lost + won:
            raise ValueError(f"lost {lost} and won {won} of {frames} frames")
        return cls((lost - won) / frames, math.sqrt(lost + won) / frames)


Changes = Mapping[int, Change]


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
        changes: for each exit that can follow from this tensor alone, what becomes of its quality.
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
                for number, (lost, error) in coded.changes.items():
                    # Written so that NaN is refused, too.
                    if number < 1 or not (-1 <= lost <= 1 and 0 <= error <= 1):
                        raise ValueError(
                            f"codec {codec} at {name!r}: exit {number} lost {lost} of its quality, "
                            f"with a standard error of {error}"
                        )

    def loss(self, codec: str, name: str, exit_number: int) -> float | None:
        """Quality that an exit loses when this tensor alone is sent through a codec.

        A loss within its standard error counts as zero; otherwise a single frame would decide
        between two codecs.

        Returns:
            The loss, 0 to 1; None if it was not measured.
        """
        coded = self.tensors.get(codec, {}).get(name)
        if coded is None or exit_number not in coded.changes:
            return None
        lost, error = coded.changes[exit_number]
        return lost if lost > error else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; ``from_dict`` reads them back."""
        return {
            "format": _FORMAT,
            "frames": self.frames,
            "tensors": {
                codec: {
                    name: [
                        *coded[:3],
                        {
                            str(n): [round(change.lost, 6), round(change.error, 6)]
                            for n, change in coded.changes.items()
                        },
                    ]
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
        frames, counted = int(values["frames"]), "format" not in values
        if not counted and values["format"] != _FORMAT:
            raise ValueError(
                f"codecs of format {values['format']!r}, this version reads {_FORMAT}: run "
                "`dapdee calibrate` again"
            )

        def change(a: Any, b: Any) -> Change:
            return Change.counted(int(a), int(b), frames) if counted else Change(float(a), float(b))

        return cls(
            frames,
            {
                str(codec): {
                    str(name): CodedTensor(
                        float(size),
                        float(encode),
                        float(decode),
                        {int(n): change(*pair) for n, pair in changes.items()},
                    )
                    for name, (size, encode, decode, changes) in of_codec.items()
                }
                for codec, of_codec in values["tensors"].items()
            },
        )
