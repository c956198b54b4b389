"""Say what is missing where a command needs packages that not every installation has."""

from __future__ import annotations

import importlib.util

from dapdee_ros.engines.engine import TORCH_MISSING
from dapdee_ros.errors import CommandError


def require_torch(what: str) -> None:
    """Check that what training needs is there.

    Args:
        what: what needs it, as the subject of a sentence.

    Raises:
        CommandError: if it is not; says how to install it.
    """
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise CommandError(f"{what} {TORCH_MISSING} ({error})") from error


def charts_can_be_drawn() -> bool:
    """Whether matplotlib is installed, which car and edge do without."""
    return importlib.util.find_spec("matplotlib") is not None


def require_charts(what: str) -> None:
    """Check that charts can be drawn.

    Args:
        what: what needs them, as the subject of a sentence.

    Raises:
        CommandError: if they cannot; says what to install.
    """
    if not charts_can_be_drawn():
        raise CommandError(
            f"{what} needs matplotlib, which is not installed: pip install matplotlib"
        )


def require_reinforcement(what: str) -> None:
    """Check that what learning a policy for fleets needs is there.

    Args:
        what: what needs it, as the subject of a sentence.

    Raises:
        CommandError: if it is not; says how to install it.
    """
    require_torch(what)
    try:
        import gymnasium  # noqa: F401
        import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise CommandError(
            f"{what} needs stable-baselines3, which is not installed: pip install "
            f"'dapdee_ros[rl]', or in the sources pip install -r requirements/rl.txt ({error})"
        ) from error
