"""Do corrupt messages do any harm? Against the pure checks, and over DDS against real nodes.

1. 100,000 messages made from real ones (bytes flipped, cut and added in the serialised form, or
   fields set to what they should never be) through everything that looks at them before they have
   an effect: HeadTensor into the edge's check and decoders, PartitionPlan into the head's,
   DeviceProfile into the manager's, InferenceResult into the head's.
2. 2,000 over DDS: HeadTensors to a real edge, PartitionPlans to a real head, and answers to that
   head's frames from an edge that talks nonsense.

Nothing may fail but with a reason, no message may make anyone allocate more than a few times what
real ones need, and what is refused has to be counted.

    python bench/fuzz.py [--messages 100000] [--over-dds 2000] [--seed 1]

The last line is JSON; the exit status is 1 unless all of that holds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))  # for the bottleneck
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for the parts beside this file

from bench.fuzzing.over_dds import fuzz_over_dds
from bench.fuzzing.targets import Target, load_network, targets
from dapdee_ros.nodes.diagnostics import resident_bytes

MOST_PEAK_BYTES = 4_000_000
"""What one message may make anyone allocate; the largest real boundary here takes 262 kB."""

SHARES = {"HeadTensor": 0.5, "PartitionPlan": 0.3, "DeviceProfile": 0.1, "InferenceResult": 0.1}


def fuzz_pure(kinds: dict[str, Target], messages: int, seed: int) -> dict[str, Any]:
    """Spoiled messages against the checks; an exception other than a refusal ends the run."""
    dice = random.Random(seed)
    found: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    worst = shortest = longest = 0
    before_rss = resident_bytes()
    tracemalloc.start()
    try:
        for _ in range(messages):
            (name,) = dice.choices(list(SHARES), list(SHARES.values()))
            data = kinds[name].spoiled(dice)
            floor = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            verdict = kinds[name].verdict(data)
            worst = max(worst, tracemalloc.get_traced_memory()[1] - floor - len(data))
            outcome, _, reason = verdict.partition(": ")
            found[name][outcome] += 1
            if outcome == "refused":
                shortest = min(shortest or len(reason), len(reason))
                longest = max(longest, len(reason))
    finally:
        tracemalloc.stop()
    return {
        "messages": messages,
        **{name: dict(counts) for name, counts in found.items()},
        "peak_allocation_bytes": worst,
        "rss_growth_bytes": resident_bytes() - before_rss,
        "reason_lengths": [shortest, longest],
        "ok": worst < MOST_PEAK_BYTES and shortest > 3,
    }


def main() -> int:
    """Both parts; prints one JSON line."""
    import tempfile

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000, help="against the pure checks")
    parser.add_argument("--over-dds", type=int, default=2000, help="over DDS; 0: none")
    parser.add_argument("--seed", type=int, default=1, help="of the dice")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    figures: dict[str, Any] = {"bench": "fuzz", "seed": args.seed}
    with tempfile.TemporaryDirectory(prefix="fuzz_") as name:
        folder = Path(name)
        kinds = targets(load_network(folder))
        figures["pure"] = fuzz_pure(kinds, args.messages, args.seed)
        print(json.dumps(figures["pure"]), flush=True)
        ok = figures["pure"]["ok"]
        if args.over_dds:
            figures["over_dds"] = fuzz_over_dds(kinds, args.over_dds, args.seed, folder)
            ok = ok and figures["over_dds"]["ok"]
    figures["ok"] = bool(ok)
    print(json.dumps(figures))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
