"""Attacks that restore images from boundaries, and what they are judged by."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from support.bottleneck_maker import model_with_bottlenecks, rendered  # noqa: E402

from dapdee_ros.cli.main import main  # noqa: E402
from dapdee_ros.datasets.opencv_pictures import required_picture  # noqa: E402
from dapdee_ros.exits.card import find_model, read_card  # noqa: E402
from dapdee_ros.training.inversion.attack import invert  # noqa: E402
from dapdee_ros.training.inversion.similarity import psnr_db, ssim  # noqa: E402


class Images:
    """Frames in memory."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def pixels(self, chosen: NDArray[np.int64]) -> NDArray[np.uint8]:
        return self._images[chosen]


def slow_ssim(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Window by window as the paper defines it, for one channel."""
    away = np.arange(11) - 5
    weights = np.exp(-(away[:, None] ** 2 + away[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for top in range(one.shape[0] - 10):
        for left in range(one.shape[1] - 10):
            a, b = (x[top : top + 11, left : left + 11] for x in (one, other))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb = (weights * (a - ma) ** 2).sum(), (weights * (b - mb) ** 2).sum()
            cov = (weights * (a - ma) * (b - mb)).sum()
            found.append(
                (2 * ma * mb + 0.01**2) * (2 * cov + 0.03**2)
                / ((ma**2 + mb**2 + 0.01**2) * (va + vb + 0.03**2))
            )  # fmt: skip
    return float(np.mean(found))


def test_similarity_is_what_its_definition_says() -> None:
    rng = np.random.default_rng(3)
    one = rng.random((2, 3, 20, 17))
    other = np.clip(one + 0.2 * rng.standard_normal(one.shape), 0, 1)
    found = ssim(torch.tensor(one).float(), torch.tensor(other).float()).numpy()
    slow = [np.mean([slow_ssim(one[k, c], other[k, c]) for c in range(3)]) for k in range(2)]
    np.testing.assert_allclose(found, slow, atol=1e-4)
    noise = psnr_db(torch.tensor(one), torch.tensor(other)).numpy()
    np.testing.assert_allclose(noise, -10 * np.log10(((one - other) ** 2).mean((1, 2, 3))))
    same = torch.tensor(one).float()
    assert float(ssim(same, same).min()) > 0.9999 and float(psnr_db(same, same).min()) == 99.0


@pytest.fixture(scope="module")
def signs() -> tuple[Images, Images]:
    """Frames that an attacker has, and some that he has not."""
    card = read_card(find_model("roadsigns"))
    return Images(rendered(card, 24, seed=5).images), Images(rendered(card, 6, seed=6).images)


def test_more_is_restored_from_what_holds_more(signs: tuple[Images, Images]) -> None:
    training, judged = signs

    def halved(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [image[:, ::2, ::2].astype(np.float32).transpose(0, 3, 1, 2)]

    def mean_colour(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return [image.astype(np.float32).mean((1, 2))]

    much, little = (
        invert(arrived, training, judged, steps=30, seed=1, shown=2)
        for arrived in (halved, mean_colour)
    )
    assert much.images.shape == (2, *training.pixels(np.array([0])).shape[1:])
    assert much.ssim > little.ssim + 0.1 and much.psnr_db > little.psnr_db + 1
    again = invert(halved, training, judged, steps=30, seed=1, shown=2)
    assert again.ssim == pytest.approx(much.ssim, abs=1e-3)


def test_the_command_writes_numbers_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = "backbone.stage2.neck.2"
    folder = model_with_bottlenecks(tmp_path / "signs", {"mid": [stage]})
    card = read_card(folder)
    boundary = "+".join(card.bottlenecks[0].file.boundary)
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    asked = [
        "privacy", str(folder), "--data", "roadsigns", "--at", boundary, "--steps", "3",
        "--frames", "12", "--held-out-frames", "4", "--out", str(page), "--json",
    ]  # fmt: skip
    point = card.bottlenecks[0].file.codecs[0]
    assert main([*asked, "--codecs", f"f32,{point}", "--picture", str(picture)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["codec"] for row in values["attacks"]] == ["f32", point]
    assert values["attacks"][1]["bottleneck"] == card.bottlenecks[0].file.id
    assert page.read_text().count("data:image/png") == 3 * 4
    # A row of the images and one of each attack: pieces of 150 pixels beside the names.
    drawn = required_picture(picture)
    assert drawn.shape == (3 * 156, 220 + 4 * 156, 3)
    pieces = [drawn[row : row + 150, 220:370] for row in (0, 156, 312)]
    assert all(piece.mean() < 250 for piece in pieces), "none is left white"
    assert pieces[0].std() > 10 > pieces[1].std(), "the image has more in it than three steps give"
    # Another codec of the same boundary joins what there is.
    assert main([*asked, "--codecs", "u8"]) == 0
    assert {a.codec for a in read_card(folder).exposures.attacks} == {"f32", "u8", point}
    capsys.readouterr()
    assert main([*asked, "--codecs", "jpeg"]) == 2
    assert "none of the codecs" in capsys.readouterr().err
