"""Which byte compressor suits quantised activations?

Codes of 8 and 4 bits of what the ReLUs of the packaged model give on rendered frames, through
zlib's strategies and the libraries that are installed. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
import zlib
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import torch

from dapdee_ros.codecs import encode
from dapdee_ros.datasets.sources import open_data
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.model_folder import load_model


def activations(model_name: str, frames: int, codec: str) -> list[bytes]:
    """Codes of the model's ReLU tensors on some frames."""
    model = load_model(find_model(model_name))
    dag = model.card.dag
    names = [node.name for node in dag.nodes if node.op == "relu"]
    split = open_data("roadsigns", size=model.card.input_size, held_out_frames=frames).held_out()
    blobs = []
    for k in range(frames):
        image = torch.from_numpy(split.images[k : k + 1])
        for name, tensor in model.runner.run({dag.input: image}, names).items():
            blobs.append(encode({name: tensor.numpy()}, codec)[1].tobytes())
    return blobs


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """Ways to compress bytes: zlib's strategies, and the libraries that are installed."""
    ways: dict[str, Callable[[bytes], bytes]] = {
        "deflate Huffman only": lambda b: _deflate(b, zlib.Z_HUFFMAN_ONLY),
        "deflate run length": lambda b: _deflate(b, zlib.Z_RLE),
        "zlib 1": lambda b: zlib.compress(b, 1),
        "zlib 6": lambda b: zlib.compress(b, 6),
    }
    try:
        import zstandard

        ways["zstd 1"] = zstandard.ZstdCompressor(level=1).compress
        ways["zstd 9"] = zstandard.ZstdCompressor(level=9).compress
    except ImportError:
        print("zstd is left out: the module zstandard is not installed")
    try:
        import lz4.block

        ways["lz4"] = lz4.block.compress
    except ImportError:
        print("lz4 is left out: the module lz4 is not installed")
    try:
        import blosc2

        shuffled = {"typesize": 1, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1}
        ways["blosc2 zstd bitshuffle"] = lambda b: blosc2.compress2(
            b, codec=blosc2.Codec.ZSTD, clevel=1, **shuffled
        )
    except ImportError:
        print("blosc2 is left out: the module blosc2 is not installed")
    return ways


def _deflate(data: bytes, strategy: int) -> bytes:
    press = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
    return press.compress(data) + press.flush()


def compare(blobs: Sequence[bytes]) -> dict[str, Any]:
    """Ratio and speed of each compressor, in bytes of these codes a second."""
    figures = {}
    for way, press in compressors().items():
        ratios, spent_s = [], 0.0
        for blob in blobs:
            started = time.perf_counter()
            ratios.append(len(press(blob)) / len(blob))
            spent_s += time.perf_counter() - started
        speed = round(sum(map(len, blobs)) / spent_s / 1e6, 1)
        figures[way] = {"ratio": round(fmean(ratios), 3), "MB_per_s": speed}
        print(f"{way}: {figures[way]}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="roadsigns")
    parser.add_argument("--frames", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"bench": "compressors", "model": args.model}
    for codec in ("u8", "u4"):
        print(codec)
        figures[codec] = compare(activations(args.model, args.frames, codec))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
