"""CIFAR-10 in torchvision's format on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dapdee_ros.datasets.split import DataError, Split
from dapdee_ros.graph.torchvision_import import torchvision


def read_batches(root: Path) -> tuple[Split, Split]:
    """Training and test set from ``root/cifar-10-batches-py``.

    The batch files are their publisher's pickles. torchvision reads them only after checking their
    digests, so they cannot have been tampered with.

    Raises:
        DataError: if a file is missing or not the published one.
    """
    splits = []
    for train, part in ((True, "training"), (False, "test")):
        try:
            data = torchvision.datasets.CIFAR10(str(root), train=train, download=False)
        except RuntimeError as error:
            raise DataError(
                f"{root}/cifar-10-batches-py is incomplete or was changed ({error}): unpack "
                "cifar-10-python.tar.gz there again"
            ) from error
        labels = np.asarray(data.targets, np.int64)
        splits.append(Split(data.data, labels, f"{len(labels)} CIFAR-10 {part} images"))
    return splits[0], splits[1]
