"""Attack a model's boundaries: how well can the image be restored from what crosses the link?

For each boundary and codec a decoder is trained to restore the network's input from what arrives on
the other side, as somebody could who has the model and images like yours; of a bottleneck's point,
from its latent. How alike its results are to images that it was not trained on is what the
boundary gives away at least: a better attack restores more. Images are enough, nobody has to say
what they show.

The numbers are written to the model's privacy.json after every attack; those of earlier calls that
were of other boundaries or codecs stay. `keep_raw_on_car_ssim` is a threshold on them. A page shows
the restored images side by side.

Examples:
  dapdee privacy roadscenes-det --data roadscenes
  dapdee privacy my_detector --data bag:drive/ --at stage1,stage2 --codecs f32,u4z,bottlenecks
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dapdee_ros.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dapdee_ros.exits.card import ModelCard
    from dapdee_ros.exits.exposure import Attack, Exposures
    from dapdee_ros.runtime.arriving import Channel
    from dapdee_ros.training.inversion.page import Shown

SUMMARY = "measure how well images can be restored from what crosses the link"

_CODECS = "f32,u4z,bottlenecks"
_BOUNDARIES, _SHOWN = 3, 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, or the name of a model")
    add(
        "--data",
        required=True,
        help="roadscenes, roadsigns, folder:DIR, bag:FILE, yolo:DIR, coco:DIR or cifar10:DIR",
    )
    add(
        "--at",
        metavar="NODE[,NODE]",
        help=f"the boundaries; a+b is one of two tensors (default: {_BOUNDARIES} spread over the "
        "network, and those of the bottlenecks)",
    )
    add("--codecs", default=_CODECS, help=f"codecs, comma-separated (default {_CODECS})")
    add("--steps", type=int, default=300, help="of each attack's training (default 300)")
    add("--frames", type=int, default=500, help="most frames that the attacker has (default 500)")
    add("--held-out-frames", type=int, default=50, help="frames that he restores (default 50)")
    add("--batch-size", type=int, default=4, help="frames per step (default 4)")
    add("--seed", type=int, default=0, help="of weights and draws (default 0)")
    add("--threads", type=int, default=1, help="CPU threads (default 1)")
    add("--topic", help="of bag:FILE: the image topic (default: the only one)")
    add("--out", type=Path, help="the page (default privacy-MODEL.html)")
    add("--picture", type=Path, metavar="PNG", help="write the restored images as one picture too")
    add("--json", action="store_true", help="print the numbers as one JSON line")


def run(args: argparse.Namespace) -> int:
    """Attack, write the numbers and the page."""
    from dapdee_ros.cli.optional_packages import require_torch

    require_torch("an attack on a model's boundaries")
    from dapdee_ros.bags.errors import BagError
    from dapdee_ros.codecs import CodecError
    from dapdee_ros.codecs.bottleneck.file import BottleneckError
    from dapdee_ros.datasets.split import DataError
    from dapdee_ros.engines.engine import EngineError
    from dapdee_ros.exits.card import ModelFolderError
    from dapdee_ros.graph.dag import GraphError

    for name in ("steps", "frames", "held_out_frames", "batch_size", "threads"):
        if getattr(args, name) < 1:
            raise CommandError(
                f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}"
            )
    try:
        return _run(args)
    except (
        BagError, BottleneckError, CodecError, DataError, EngineError, GraphError, ModelFolderError,
    ) as error:  # fmt: skip
        raise CommandError(str(error)) from error


def _run(args: argparse.Namespace) -> int:
    import numpy as np
    import torch
    from tqdm import tqdm

    from dapdee_ros.cli.bottleneck_data import open_frames
    from dapdee_ros.exits.card import find_model
    from dapdee_ros.exits.exposure import PRIVACY_FILE, Attack, Exposures
    from dapdee_ros.exits.model_folder_writer import json_bytes
    from dapdee_ros.exits.runnable import load_runnable
    from dapdee_ros.files import require_folder, write_whole
    from dapdee_ros.runtime.arriving import channels
    from dapdee_ros.training.inversion.attack import invert
    from dapdee_ros.training.inversion.page import Shown, privacy_page, privacy_picture

    folder = require_folder(find_model(args.model))
    model = load_runnable(folder, threads=args.threads)
    card = model.card
    ways = channels(model, _boundaries(args.at, card), args.codecs.split(","))
    if not ways:
        raise CommandError(
            f"none of the codecs {args.codecs} codes one of the boundaries: name others with --at "
            "and --codecs"
        )
    data = open_frames(args.data, card, args.frames, args.held_out_frames, args.topic)
    torch.set_num_threads(args.threads)
    found = card.exposures
    attacks: list[Attack] = []
    shown: list[Shown] = []
    for way in ways:
        with tqdm(total=args.steps, desc=_title(way), unit="step", file=sys.stderr) as bar:

            def progress(step: int, loss: float, bar: tqdm = bar) -> None:
                bar.update(step)
                bar.set_postfix(error=f"{loss:.3f}", refresh=False)

            restored = invert(
                way.arrived, data.training, data.judged, steps=args.steps,
                batch_size=args.batch_size, seed=args.seed, shown=_SHOWN, progress=progress,
            )  # fmt: skip
        attack = Attack(
            way.boundary,
            way.codec,
            round(restored.psnr_db, 3),
            round(restored.ssim, 4),
            way.file_id,
        )
        attacks.append(attack)
        shown.append(Shown(attack, restored.images))
        found = Exposures(found.with_attack(attack), data.description, len(data.judged), args.steps)
        write_whole(folder / PRIVACY_FILE, json_bytes(found.to_dict(card.model_id), indent=1))
    originals = data.judged.pixels(np.arange(min(_SHOWN, len(data.judged))))
    page = args.out or Path(f"privacy-{card.name}.html")
    write_whole(page, privacy_page(card.name, found, originals, shown))
    if args.picture:
        write_whole(args.picture, privacy_picture(originals, shown))
    if args.json:
        now = Exposures(tuple(attacks), found.data, found.frames, found.steps)
        print(json.dumps(now.to_dict(card.model_id)))
        return 0
    _print_table(card, attacks, found)
    for path in (folder / PRIVACY_FILE, page, args.picture):
        if path is not None:
            print(f"wrote {path}")
    return 0


def _title(way: Channel) -> str:
    return f"{'+'.join(way.boundary)[-40:]} {way.codec}"


def _boundaries(text: str | None, card: ModelCard) -> list[tuple[str, ...]]:
    """Those that are named, else some spread over the network and those of the bottlenecks."""
    import numpy as np

    from dapdee_ros.cli.bottleneck import named_boundary
    from dapdee_ros.exits.codec_calibration import boundaries_to_measure

    if text:
        boundaries = [named_boundary(card.dag, part)[1] for part in text.split(",")]
        for name in {name for boundary in boundaries for name in boundary}:
            if name not in card.dag.by_name or name == card.dag.input:
                raise CommandError(
                    f"--at {name}: expected a node of {card.name} behind its input "
                    f"{card.dag.input!r}; graph.json in its folder names them"
                )
        return boundaries
    inner = [name for name in boundaries_to_measure(card.dag) if name != card.dag.input]
    places = np.linspace(0, len(inner) - 1, min(_BOUNDARIES, len(inner))).round().astype(int)
    spread = [(inner[place],) for place in places]
    return list(dict.fromkeys([*spread, *(of.file.boundary for of in card.bottlenecks)]))


def _print_table(card: ModelCard, attacks: Sequence[Attack], found: Exposures) -> None:
    """One line per attack."""
    width = max(len("+".join(attack.boundary)) for attack in attacks)
    print(
        f"{card.name}: restored from what arrives, mean of {found.frames} frames; SSIM 1: the image"
    )
    print(f"{'boundary':{width}}  {'codec':16} {'PSNR':>9} {'SSIM':>6}")
    for attack in attacks:
        print(
            f"{'+'.join(attack.boundary):{width}}  {attack.codec:16} {attack.psnr_db:6.2f} dB "
            f"{attack.ssim:6.3f}"
        )
