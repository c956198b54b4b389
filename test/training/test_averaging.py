import numpy as np
import pytest
import torch
from torch import nn

from dapdee_ros.datasets.split import Split
from dapdee_ros.training.averaging import WeightAverage


class _Net(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(weight))
        self.norm = nn.BatchNorm2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise the scaled mean of the colours."""
        return self.norm(self.scale * images.permute(0, 3, 1, 2).float().mean(1, keepdim=True))


def _frames(count: int) -> Split:
    images = np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3)).astype(np.uint8)
    return Split(images, np.zeros(count, np.int64), "noise")


def test_batch_norms_are_measured_with_the_mean_weights() -> None:
    average = WeightAverage(_Net(0.0))
    assert len(average) == 0
    for weight in (1.0, 3.0):
        average.add(_Net(weight))
    assert len(average) == 2
    frames = _frames(512)
    settled = average.settle(frames, 512, seed=0, bf16=False)
    assert isinstance(settled, _Net) and not settled.training
    assert settled.scale.item() == 2
    grey = torch.from_numpy(2.0 * frames.images.mean(-1))
    assert settled.norm.running_mean is not None and settled.norm.running_var is not None
    assert settled.norm.running_mean.item() == pytest.approx(grey.mean().item(), rel=1e-4)
    assert settled.norm.running_var.item() == pytest.approx(grey.var().item(), rel=1e-2)


def test_images_stored_class_by_class_have_the_variance_of_all() -> None:
    levels = np.repeat(np.arange(4, dtype=np.uint8) * 60, 256)
    images = np.broadcast_to(levels[:, None, None, None], (1024, 4, 4, 3)).copy()
    average = WeightAverage(_Net(1.0))
    average.add(_Net(1.0))
    frames = Split(images, np.repeat(np.arange(4), 256), "dark to bright")
    settled = average.settle(frames, 1024, seed=0, bf16=False)
    assert isinstance(settled, _Net) and settled.norm.running_var is not None
    assert settled.norm.running_var.item() == pytest.approx(np.var(60.0 * np.arange(4)), rel=0.05)


@pytest.mark.parametrize(("count", "used"), [(512, 2), (500, 1), (100, 1), (9999, 3)])
def test_only_full_batches_count_if_there_is_one(count: int, used: int) -> None:
    average = WeightAverage(_Net(1.0))
    average.add(_Net(1.0))
    settled = average.settle(_frames(800), count, seed=0, bf16=False)
    assert isinstance(settled, _Net) and settled.norm.num_batches_tracked is not None
    assert settled.norm.num_batches_tracked.item() == used


def test_it_goes_on_from_its_state() -> None:
    first, second = WeightAverage(_Net(0.0)), WeightAverage(_Net(5.0))
    first.add(_Net(1.0))
    second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
    for average in (first, second):
        average.add(_Net(2.0))
        assert len(average) == 2
        settled = average.settle(_frames(256), 256, seed=0, bf16=False)
        assert isinstance(settled, _Net) and settled.scale.item() == 1.5
