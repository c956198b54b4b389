"""Keys that seal the link between a car and its edge.

  dapdee key new car1            create a key; then copy the file it names to the other machine
  dapdee key show                ids and dates of the keys here, never the keys themselves
  dapdee key rotate car1         add a new key beside the old one; copy the file again
  dapdee key rotate car1 --finish   when both machines have it: drop the old one

Running nodes reload a changed file by themselves, so a rotation costs no frame.
"""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path

from dapdee_ros.errors import CommandError
from dapdee_ros.sealing.configured import keys_folder
from dapdee_ros.sealing.key_file import (
    SUFFIX,
    KeyFileError,
    KeyRing,
    finished,
    id_text,
    load_ring,
    new_ring,
    rotated,
    save_new,
    save_over,
)

SUMMARY = "keys that seal the link between a car and its edge"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("new", help="create a key")
    make.add_argument("name", metavar="NAME", help="name for the pair of car and edge")
    show = actions.add_parser("show", help="show ids and dates, never the keys themselves")
    show.add_argument("name", nargs="?", metavar="NAME", help="which one (default: all)")
    rotate = actions.add_parser("rotate", help="replace a key without stopping the car")
    rotate.add_argument("name", metavar="NAME", help="which one")
    rotate.add_argument(
        "--finish", action="store_true", help="drop the old key, once both machines have the new"
    )
    for action in (make, show, rotate):
        action.add_argument(
            "--folder", type=Path, help="where the keys are (default $ROS_HOME/dapdee/keys)"
        )


def run(args: argparse.Namespace) -> int:
    """Create, show or rotate."""
    folder = args.folder or keys_folder(os.environ)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        if args.action == "new":
            return _new(folder, args.name, now)
        if args.action == "show":
            return _show(folder, args.name)
        return _rotate(folder, args.name, now, finish=args.finish)
    except KeyFileError as error:
        raise CommandError(str(error)) from error


def _new(folder: Path, name: str, now: str) -> int:
    ring = new_ring(name, now)
    path = folder / f"{name}{SUFFIX}"
    save_new(ring, path)
    print(_described(ring))
    print(f"It is in {path}. Copy it to the same folder on the other machine, for example")
    print(f"  scp -p {path} OTHER:.ros/dapdee/keys/")
    print("and restart both sides. On a machine with only one key, that one is used.")
    return 0


def _show(folder: Path, name: str | None) -> int:
    paths = [folder / f"{name}{SUFFIX}"] if name else sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        print(f"no keys in {folder}: create one with dapdee key new NAME")
    for path in paths:
        print(_described(load_ring(path)))
    return 0


def _rotate(folder: Path, name: str, now: str, *, finish: bool) -> int:
    path = folder / f"{name}{SUFFIX}"
    ring = finished(load_ring(path)) if finish else rotated(load_ring(path), now)
    save_over(ring, path)
    print(_described(ring))
    if finish:
        print(
            "The old key is no longer valid here. Do the same on the other machine, or copy "
            "the file."
        )
    else:
        print(f"Both keys are valid now. Copy {path} to the other machine; then, on either,")
        print(f"  dapdee key rotate {name} --finish   and copy it once more")
    return 0


def _described(ring: KeyRing) -> str:
    lines = [
        f"{ring.name}: key {id_text(key.key_id)}, made {key.created}"
        + (" (the old one)" if number else "")
        for number, key in enumerate(ring.keys)
    ]
    return "\n".join(lines)
