"""The speed of the emulated car: the share of a core its processes may use.

The shares are chosen from measurements of the same networks on a real Raspberry Pi 4 and on
desktop processors (Lockhart et al., "Scission: Performance-driven and Context-aware Cloud-Edge
Distribution of Deep Neural Networks", UCC 2020; TensorFlow, batch 1): VGG16 takes 18.6 times as
long on the Pi 4 as on an i7-6700K, ResNet-50 11.8, Inception v3 11.7, DenseNet-121 10.1,
MobileNetV2 8.1 times. A tenth of a core, about 10 times slower, is in that range.
"""

from __future__ import annotations

from dataclasses import dataclass

from dapdee_ros.engines.slow_engine import MOST_SLOWDOWN
from dapdee_ros.testbed.cpu_quota import LEAST_QUOTA

CAR_TEXT_HELP = (
    "pi4 (a tenth of a core: a Raspberry Pi 4 is 8 to 19 times slower than a desktop), pi3 (half "
    "of that), quota:0.1 (a share of a core), emulated:10 (ten times slower by waiting, for "
    "networks of a few milliseconds), or full"
)
# "played" is the former name, read for one more release.
_EMULATED = ("emulated", "played")
_NAMED = {"pi4": 0.1, "pi3": 0.05}


class CarTextError(ValueError):
    """An invalid description of a car; the message says what was expected."""


@dataclass(frozen=True)
class CarSpeed:
    """How fast the car is.

    Attributes:
        text: the description, normalised.
        quota: share of one core that each of its processes may use; None: unlimited.
        emulated_slowdown: factor by which the head stretches its computations, by waiting.
    """

    text: str
    quota: float | None
    emulated_slowdown: float = 1.0


def parse_car(text: str) -> CarSpeed:
    """Turn a car's description into its quota; ``CAR_TEXT_HELP`` lists the forms.

    Raises:
        CarTextError: if the text is none of them.
    """
    word = text.strip().lower()
    if word == "full":
        return CarSpeed(word, None)
    if word in _NAMED:
        return CarSpeed(word, _NAMED[word])
    kind, _, number = word.partition(":")
    try:
        value = float(number)
    except ValueError:
        value = 0.0
    if kind == "quota" and LEAST_QUOTA <= value <= 1:
        return CarSpeed(word, value)
    if kind in _EMULATED and 1 <= value <= MOST_SLOWDOWN:
        return CarSpeed(f"emulated:{number}", None, value)
    raise CarTextError(
        f"{text!r} is not a car; expected {CAR_TEXT_HELP}; a share lies between {LEAST_QUOTA} and "
        f"1, the slowdown between 1 and {MOST_SLOWDOWN:g}"
    )
