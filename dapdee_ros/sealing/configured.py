"""Whether the link is sealed here: by which key file, in which ROS domain.

Every process of a side has to know before the middleware starts, even those that do not use the
link: with a key the car's local topics stay on its loopback interface. So this is set by
environment variables, not by ROS parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dapdee_ros.sealing.key_file import SUFFIX, KeyFileError

KEY_VARIABLE = "DAPDEE_LINK_KEY"
DOMAIN_VARIABLE = "DAPDEE_LINK_DOMAIN"
NO_KEY = "none"
HIGHEST_DOMAIN = 101
"""Higher domains would use ports from Linux's ephemeral range."""


@dataclass(frozen=True)
class SealedLink:
    """The sealed link's configuration.

    Attributes:
        key_file: the file with its keys, or a folder of such files, one per car.
        domain_id: its ROS domain.
    """

    key_file: Path
    domain_id: int

    def of_car(self, car_id: str) -> SealedLink:
        """The link to one car; with a folder of keys, the one with the car's own key.

        Raises:
            KeyFileError: if the folder has no key of that car.
        """
        if not self.key_file.is_dir():
            return self
        path = self.key_file / f"{car_id.replace('/', '_')}{SUFFIX}"
        if not path.is_file():
            raise KeyFileError(
                f"{KEY_VARIABLE} is the folder {self.key_file}, in which there is no key "
                f"{path.name} for the car {car_id}: copy it from the car, or create one with "
                "`dapdee key new`"
            )
        return replace(self, key_file=path)


def keys_folder(environment: Mapping[str, str]) -> Path:
    """The folder for keys: ``$ROS_HOME/dapdee/keys``."""
    home = environment.get("ROS_HOME")
    return (Path(home) if home else Path.home() / ".ros") / "dapdee" / "keys"


def sealed_link(environment: Mapping[str, str]) -> SealedLink | None:
    """The sealed link that the environment specifies; None if the link is open.

    ``DAPDEE_LINK_KEY`` is the path of a key file or of a folder with one per car, a key's name in
    the keys' folder, or ``none``. If unset, the only key there is used, if any.

    Raises:
        KeyFileError: if there is no such key, or several to choose from; or if a domain is invalid.
    """
    path = _key_file(environment)
    return None if path is None else SealedLink(path, _domain_id(environment))


def _key_file(environment: Mapping[str, str]) -> Path | None:
    asked = environment.get(KEY_VARIABLE, "")
    folder = keys_folder(environment)
    if asked == NO_KEY:
        return None
    if asked:
        path = Path(asked).expanduser()
        if "/" not in asked and not asked.endswith(SUFFIX):
            path = folder / f"{asked}{SUFFIX}"
        if not path.exists():
            raise KeyFileError(
                f"{KEY_VARIABLE} is {asked!r}, but there is no file {path}: copy it from the "
                f"other machine, create one with `dapdee key new`, or set it to {NO_KEY}"
            )
        return path.absolute()
    found = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    if len(found) > 1:
        names = ", ".join(path.stem for path in found)
        raise KeyFileError(
            f"there are several keys in {folder} ({names}): choose one with {KEY_VARIABLE} (the "
            f"argument link_key), or {NO_KEY}"
        )
    return found[0].absolute() if found else None


def _domain_id(environment: Mapping[str, str]) -> int:
    own = _number(environment, "ROS_DOMAIN_ID", 0)
    beside = own + 1 if own < HIGHEST_DOMAIN else own - 1
    domain_id = _number(environment, DOMAIN_VARIABLE, beside)
    if domain_id == own:
        raise KeyFileError(
            f"{DOMAIN_VARIABLE} is {domain_id}, which is ROS_DOMAIN_ID: the link needs its own "
            "domain, so that the car's local topics stay on the car"
        )
    return domain_id


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) > 232:
        raise KeyFileError(f"{name} is {text!r}, expected a ROS domain, 0 to 232")
    return int(text)
