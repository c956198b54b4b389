"""A page with what attacks restored, side by side with the images."""

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


def _row(name: str, psnr: str, ssim: str, images: Iterable[NDArray[np.uint8]]) -> str:
    cells = "".join(
        f"<td><img alt='' src='data:image/png;base64,{_png(image)}'></td>" for image in images
    )
    return (
        f"<tr><td>{name}</td><td class='number'>{psnr}</td><td class='number'>{ssim}</td>"
        f"{cells}</tr>"
    )


def _png(image: NDArray[np.uint8]) -> str:
    cv2 = quiet_cv2()
    png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return base64.b64encode(png.tobytes()).decode()
