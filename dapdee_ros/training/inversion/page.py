"""What attacks restored, side by side with the images: as a page, and as one picture."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.datasets.opencv_pictures import quiet_cv2
from dapdee_ros.exits.exposure import Attack, Exposures

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem; color: #1b1e22; background: #fff }
table { border-collapse: collapse } td, th { padding: .25rem .6rem .25rem 0; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
img { display: block; width: 180px; height: auto }
@media (prefers-color-scheme: dark) { body { color: #eceef0; background: #16191d } }
"""

_PICTURE_PX, _GAP_PX, _WORDS_PX = 150, 6, 220
_FONT = 0
"""OpenCV's FONT_HERSHEY_SIMPLEX."""


class Shown(NamedTuple):
    """An attack and the first frames that it restored, uint8 ``(n, H, W, 3)``."""

    attack: Attack
    images: NDArray[np.uint8]


def privacy_page(
    model: str, found: Exposures, originals: NDArray[np.uint8], shown: Sequence[Shown]
) -> str:
    """The page as HTML, all in one file.

    Args:
        model: its name.
        found: what the attacks were measured on.
        originals: the frames, uint8 ``(n, H, W, 3)``.
        shown: the attacks, in the order of the rows.
    """
    title = f"What can be restored from the boundaries of {html.escape(model)}"
    rows = [_row("the image", "", "", originals)]
    rows += [
        _row(
            f"{html.escape('+'.join(attack.boundary))}<br>{html.escape(attack.codec)}",
            f"{attack.psnr_db:.2f}",
            f"{attack.ssim:.3f}",
            images,
        )
        for attack, images in shown
    ]
    return (
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>A decoder was trained for {found.steps} steps on images like these to restore them "
        f"from what arrives on the other side of the link. Means over {found.frames} frames that "
        f"it was not trained on ({html.escape(found.data)}). A better attack restores more.</p>"
        "<table><tr><th>boundary, codec<th>PSNR in dB<th>SSIM"
        f"<th colspan='{len(originals)}'>frames</tr>{''.join(rows)}</table></html>\n"
    )


def privacy_picture(originals: NDArray[np.uint8], shown: Sequence[Shown]) -> bytes:
    """The images and what each attack restored of them as one PNG, a row for each.

    Args:
        originals: the frames, uint8 ``(n, H, W, 3)``.
        shown: the attacks, in the order of the rows.
    """
    cv2 = quiet_cv2()

    def row(words: Sequence[str], images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = images.shape[1:3]
        high, wide = _PICTURE_PX, round(_PICTURE_PX * width / height)
        found = np.full((high + _GAP_PX, _WORDS_PX, 3), 255, np.uint8)
        for line, text in enumerate(words):
            place = (0, high // 2 + 22 * (line - len(words) // 2))
            cv2.putText(found, text, place, _FONT, 0.45, (40, 40, 40), 1, cv2.LINE_AA)
        pieces = [found]
        for image in images:
            piece = np.full((high + _GAP_PX, wide + _GAP_PX, 3), 255, np.uint8)
            piece[:high, :wide] = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
            pieces.append(piece)
        return np.concatenate(pieces, 1)

    rows = [row(["the image"], originals)]
    for attack, images in shown:
        rows.append(
            row(["+".join(attack.boundary), attack.codec, f"SSIM {attack.ssim:.2f}"], images)
        )
    return _png(np.concatenate(rows))


def _row(name: str, psnr: str, ssim: str, images: Iterable[NDArray[np.uint8]]) -> str:
    coded = [base64.b64encode(_png(image)).decode() for image in images]
    cells = "".join(f"<td><img alt='' src='data:image/png;base64,{png}'></td>" for png in coded)
    return (
        f"<tr><td>{name}</td><td class='number'>{psnr}</td><td class='number'>{ssim}</td>"
        f"{cells}</tr>"
    )


def _png(image: NDArray[np.uint8]) -> bytes:
    cv2 = quiet_cv2()
    coded: NDArray[np.uint8] = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return coded.tobytes()
