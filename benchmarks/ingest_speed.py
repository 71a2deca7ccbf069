"""What does streaming into the store cost, and what is saved by decoding once for many models?

- stream: one model over images in memory, on four rungs: the model alone on resident tensors, a bare loop
  that gets logits to the host, `infer` whose rows are dropped, `infer` into the store (`ingest_loops.py`).
  The store's cost is the last against the bare loop that ran beside it: encoding, checksums, writing, sync
  and commit, and all that is done once a call; what a call of a single batch costs more than its bare loop
  is told apart. The aim is at most 3 % where the model has a realistic cost; a model that costs next to
  nothing is the worst case.
- shared: many models over JPEG files: one `infer` against a pass a model as timm does it, in the settings of
  its loader that are fastest here (`ingest_peers.py`). The aim is at most 0.4 of the time, for small models.
  Half as many larger ones, where decoding matters less, are shown beside them.
- memory: `ingest_memory.py`, with its own result.

All contenders of a part have to predict the same classes before anything is timed, and run in turn in one
process; a ratio is the median of those of the turns. On CUDA stream runs in bfloat16 with channels last,
shared in float32, as timm does by default.

    python benchmarks/ingest_speed.py [--only stream shared memory] [--images 600] [--models 16] [--repeats 9]

It says beforehand what it takes: less than five minutes on two cores that are free. The result goes to
results/<machine>-ingest-speed.json, on CUDA to results/<machine>-cuda-ingest-speed.json; with --only the
other part stays in it, where it is of the same machine, versions, sizes and settings.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import ingest_memory
from dissensus.ingest.streaming.checks import choose_device
from dissensus.ingest.zoo.torch_models import device_name
from ingest_loops import ALONE, BARE, CASES, DROPPED, STORED, climb
from ingest_peers import LARGER, OURS, OURS_ONE, OURS_SCANNING, SMALL, TIMM, compare
from machine import result_path, write_result
from measuring import begin, chosen, finish, first_day, kept, options

PARTS = {"stream": "loops", "shared": "peers"}  # by their place in the result
SETTINGS = ("classes", "batch_size", "repeats", "peer_repeats", "workers", "timm_workers")
SETTINGS += ("examples", "images", "larger_images", "models")
MEMORY = "memory"
MEMORY_S = 50
BATCHES = {"cpu": 64, "cuda": 256}
MOST_COST, MOST_TIME = 0.03, 0.4  # what is aimed at


def main() -> None:
    arguments = parse_arguments()
    device = choose_device(arguments.device)
    arguments.batch_size = arguments.batch_size or BATCHES[device.type]
    torch.set_num_threads(arguments.threads)
    print("\n".join(announced(arguments)), flush=True)
    if set(arguments.only) & PARTS.keys():
        _speed(arguments, device)
    if MEMORY in arguments.only:
        ingest_memory.main([f"--threads={arguments.threads}", f"--out={arguments.out}"])


def _speed(arguments: argparse.Namespace, device: torch.device) -> None:
    frame = begin(__doc__) | {"threads": arguments.threads, "device": device_name(device)}
    sizes = chosen(arguments, *SETTINGS)
    name = "ingest-speed" if device.type == "cpu" else f"{device.type}-ingest-speed"
    other = {part for only, part in PARTS.items() if only not in arguments.only}
    old = kept(
        result_path(arguments.out, name),
        frame,
        lambda report: other & report.keys(),
        device=frame["device"],
        **sizes,
    )
    with tempfile.TemporaryDirectory(dir=arguments.dir) as root:
        found = measure(Path(root), arguments, device)
    taken = {part: old[part] for part in other & old.keys()}
    if taken:
        frame["date"] = first_day((frame["date"], old["date"]))
    report = finish(frame, **sizes, **taken, **found)
    show(report)
    print(f"written to {write_result(arguments.out, name, report)}", flush=True)


def announced(arguments: argparse.Namespace) -> Iterator[str]:
    """What runs, and about how long on two cores that are free."""
    seconds = {
        "stream": 20 + 9 * arguments.repeats,
        "shared": 20 + arguments.models * arguments.peer_repeats * (arguments.images / 230 + 0.8),
        MEMORY: MEMORY_S,
    }
    chosen = {name: seconds[name] for name in seconds if name in arguments.only}
    parts = ", ".join(f"{name} {value / 60:.1f}" for name, value in chosen.items())
    yield f"about {sum(chosen.values()) / 60:.1f} minutes on two cores that are free: {parts}"


def parse_arguments() -> argparse.Namespace:
    parser = options(__doc__, writes=True, classes=1_000)
    cores = len(os.sched_getaffinity(0))
    parts = [*PARTS, MEMORY]
    parser.add_argument(
        "--only", choices=parts, nargs="+", default=parts, metavar="PART", help=", ".join(parts)
    )
    parser.add_argument("--device", help="by default CUDA where there is one")
    parser.add_argument("--repeats", type=int, default=9, help="turns of stream")
    parser.add_argument("--peer-repeats", type=int, default=2, help="turns of shared")
    parser.add_argument("--examples", type=int, help="images of every model of stream")
    parser.add_argument("--images", type=int, default=SMALL.images, help="JPEG files for the small models")
    parser.add_argument("--larger-images", type=int, default=LARGER.images, help="for the larger models")
    parser.add_argument("--models", type=int, default=16, help="of shared")
    parser.add_argument("--batch-size", type=int, help="64 on the processor, 256 on CUDA")
    parser.add_argument("--threads", type=int, default=cores)
    parser.add_argument(
        "--workers", type=int, help="processes in which `infer` decodes; it decides by itself"
    )
    parser.add_argument(
        "--timm-workers", type=int, nargs="+", default=sorted({0, 1, 2, cores}), help="those that are tried"
    )
    return parser.parse_args()


def measure(root: Path, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "stream" in arguments.only:
        cases = [replace(c, examples=arguments.examples or c.examples) for c in CASES[device.type]]
        climbs = (climb(root / f"loop{i}", case, arguments, device) for i, case in enumerate(cases))
        found["loops"] = [{**one, "ratios": loop_ratios(one), "fixed_s": fixed(one)} for one in climbs]
    if "shared" in arguments.only:
        small, larger = (
            replace(SMALL, images=arguments.images),
            replace(LARGER, images=arguments.larger_images),
        )
        races = (compare(root / case.name, case, arguments, device) for case in (small, larger))
        found["peers"] = [{**one, "ratios": peer_ratios(one)} for one in races]
    return found


# ratios of what ran in the same turn


def loop_ratios(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What each step costs, as a share of the time without it, and how near the loop comes to the model."""
    turns = found["turns"]
    costs = {
        "the store": (STORED, BARE),
        "encoding and the loop": (DROPPED, BARE),
        "checksum, write, sync, commit": (STORED, DROPPED),
    }
    ratios = {name: spread([r - 1 for r in beside(turns, *pair)]) for name, pair in costs.items()}
    ratios["speed of the model alone"] = spread(beside(turns, ALONE, STORED))
    return {**ratios, "device busy": spread(found["busy"])}


def beside(turns: Sequence[dict[str, float]], name: str, other: str) -> list[float]:
    """Ratios of the turns in which both ran."""
    return [turn[name] / turn[other] for turn in turns if {name, other} <= turn.keys()]


def fixed(found: dict[str, Any]) -> dict[str, float]:
    """Seconds that a call takes beyond its bare loop where there is one batch."""
    short = found["one_batch_s"]
    return spread([a - b for a, b in zip(short[STORED], short[BARE], strict=True)])


def peer_ratios(found: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Times of ours as shares of timm's."""
    return {name: spread(of_turns(found["times_s"], name, TIMM)) for name in (OURS, OURS_SCANNING, OURS_ONE)}


def of_turns(times: dict[str, list[float]], name: str, other: str) -> list[float]:
    return [a / b for a, b in zip(times[name], times[other], strict=True)]


def spread(values: Sequence[float]) -> dict[str, float]:
    middle = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    middle |= dict(zip(("from", "to"), around_median(values), strict=True))
    return {name: round(value, 4) for name, value in middle.items()}


def around_median(values: Sequence[float]) -> tuple[float, float]:
    """Interval of the median with 95 %, by the ranks of the turns alone; all of them where they are few."""
    n, ordered = len(values), sorted(values)
    outside = (2 * sum(math.comb(n, i) for i in range(rank + 1)) / 2**n for rank in range(n // 2))
    rank = sum(share <= 0.05 for share in outside)
    return ordered[max(rank - 1, 0)], ordered[-max(rank, 1)]


# what is printed


def show(report: dict[str, Any]) -> None:
    where = f"{report['machine']}, {report['device']}, load before {report['load_before']}"
    print(f"{report['classes']} classes, batches of {report['batch_size']}, {where}")
    for found in report.get("loops", []):
        print("\n".join(["", *_loop(found)]))
    for found in report.get("peers", []):
        print("\n".join(["", *_peers(found)]))


def _loop(found: dict[str, Any]) -> Iterator[str]:
    n = found["examples"]
    yield f"{found['architecture']}, {n} images of {found['side']} pixels"
    yield f"{'':40}{'median s':>12}{'images/s':>12}"
    for name, seconds in found["times_s"].items():
        median = statistics.median(seconds)
        yield f"{name:40}{median:12.3f}{n / median:12,.0f}"
    for name, ratio in found["ratios"].items():
        aim = (
            f"   aim: at most {MOST_COST:.0%}, unless the model costs nothing" if name == "the store" else ""
        )
        yield f"{name:40}{_range(ratio)}{aim}"
    store = found["ratios"]["the store"]
    yield f"{'95 % interval of that median':40}{store['from']:8.1%} to {store['to']:.1%}"
    yield f"{'of it once a call':40}{1e3 * found['fixed_s']['median']:8.1f} ms"


def _peers(found: dict[str, Any]) -> Iterator[str]:
    images = f"{found['images']} images of {found['image_size']} ({found['image_bytes']:,} bytes)"
    yield f"{found['name']}: {len(found['models'])} at {found['side']} pixels, {images}"
    yield f"timm: {found['timm']}"
    yield f"{'':60}{'median s':>12}"
    for name, seconds in found["times_s"].items():
        yield f"{name:60}{statistics.median(seconds):12.2f}"
    for name, ratio in found["ratios"].items():
        aim = f"   aim: at most {MOST_TIME}" if name == OURS and found["name"] == SMALL.name else ""
        yield f"{name + ' / timm':70}{_range(ratio)}{aim}"
    decodes, share = found["decodes"], found["decoding"]
    yield f"of {decodes['images']} images infer decodes {decodes[OURS]}, timm {decodes[TIMM]}"
    for place in ("first", "last"):
        part = share["loader"] / share[place]
        yield f"timm's loader alone takes {part:.0%} of a pass of the {place} model, in one process"


def _range(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:8.1%} ({ratio['lowest']:.1%} to {ratio['highest']:.1%})"


if __name__ == "__main__":
    main()
