"""Names of classes: a file, a list, or a well-known list."""

from __future__ import annotations

from pathlib import Path

COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""The 80 classes of COCO's detection task in their usual order (T.-Y. Lin et al., "Microsoft COCO:
Common Objects in Context", ECCV 2014)."""


def labels_of(text: str) -> tuple[str, ...]:
    """Class names from ``coco``, a file with one per line, or a list with commas.

    Raises:
        ValueError: if the file cannot be read or names none.

    >>> labels_of("stop, yield"), labels_of("coco")[:2]
    (('stop', 'yield'), ('person', 'bicycle'))
    """
    if text == "coco":
        return COCO
    path = Path(text)
    if "," not in text and (path.exists() or path.suffix):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"the labels {path} cannot be read: {error}") from error
    else:
        lines = text.split(",")
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise ValueError(f"{text!r} names no classes")
    return labels
