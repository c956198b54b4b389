"""Say what is missing where commands need torch, which is installed only for training."""

from __future__ import annotations

from dapdee_ros.engines.engine import TORCH_MISSING
from dapdee_ros.errors import CommandError


def require_torch(what: str) -> None:
    """Check that torch is there.

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
