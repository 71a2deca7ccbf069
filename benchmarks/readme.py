"""Render the figures of both READMEs from `benchmarks/results`, so that no number in them is typed by hand.

    python benchmarks/readme.py          # rewrite the blocks between the markers
    python benchmarks/readme.py --check  # exit status 1 if one is not current

The demo's block is an excerpt of what `dissensus demo --data fashion-mnist` printed, line by line as it was.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import readme_ensembles
import readme_large
import readme_pairs
import readme_short
from aim import COMMANDS, ONE, TIMM
from aims import table as aims_table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
READMES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")


def newest(name: str) -> dict:
    """The result of a benchmark, of the latest date where several machines have one."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob(f"*-{name}.json")]
    return max(found, key=lambda result: result["date"])


def newest_or_none(name: str) -> dict | None:
    """The same; None where it has not been run."""
    return newest(name) if any(RESULTS.glob(f"*-{name}.json")) else None


def unless_missing(name: str, render: Callable[[dict], str]) -> str:
    """A block of a benchmark that may not have been run yet, which it then says."""
    result = newest_or_none(name)
    return render(result) if result else f"Not measured yet: `python benchmarks/{COMMANDS[name]}`."


def comparisons() -> str:
    """Every function beside every implementation, the ratio that is worst for us first."""
    result = newest("comparisons")
    others = [row for row in result["rows"] if row["kind"] != "ours"]
    ours = {row["function"]: row for row in result["rows"] if row["kind"] == "ours"}
    lines = []
    for row in sorted(others, key=lambda row: row["times_ours"]["median"]):
        ratio, own = row["times_ours"], ours[row["function"]]
        size = " x ".join(f"{n:,}" for n in row["sizes"].values())
        spread = f"{ratio['lowest']:,.2f} to {ratio['highest']:,.2f}"
        kind = row["kind"] + (", one run" if len(row["times_s"]) == 1 else "")
        lines.append(
            f"| {row['function']}, {size} | {row['implementation']} ({kind}) | {ratio['median']:,.2f} "
            f"| {spread} | {1e3 * row['median_s']:,.1f} | {1e3 * own['median_s']:,.1f} "
            f"| {1e3 * row['prepare_s']:,.1f} | {1e3 * own['prepare_s']:,.1f} | {row['equal']} |"
        )
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    return "\n".join(
        [
            f"{result['machine']}, {result['threads']} threads, {result['date']}, `python "
            f"benchmarks/comparisons.py`, {result['repeats']} turns; {versions}. Medians of ratios of times",
            "of one turn; what is read, packed, converted or made beforehand is apart. Below 1 we lose.",
            "",
            "| function, size | beside | times ours | from, to | its ms | our ms | its set-up ms "
            "| our set-up ms | equal |",
            "|---|---|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def ingest_memory() -> str:
    result = newest("ingest-memory")
    by_models: dict[int, list[dict]] = {}
    for run in result["runs"]:
        by_models.setdefault(run.get("resident", 1), []).append(run)
    small, *_, large = by_models[1]
    told = [
        f"{_added(small)} MiB to the process at {small['examples']:,} examples and "
        f"{_added(large)} MiB at {large['examples']:,}"
    ]
    told += [
        f"with {n} models in memory {_added(runs[0])} and {_added(runs[-1])} MiB"
        for n, runs in by_models.items()
        if n > 1
    ]
    more = large["examples"] - small["examples"]
    ids = (large["before_bytes"] - small["before_bytes"]) / more
    held = (large["peak_bytes"] - small["peak_bytes"]) / more - ids
    return (
        f"Memory of ingesting ({result['machine']}, {result['date']}, `python benchmarks/ingest_memory.py`): "
        f"the streaming loop adds {', '.join(told)}: {max(held, 0):.0f} bytes an example more. It holds a "
        "bounded number of batches, and of a model's columns a bounded part while they are finished. Ids and "
        f"labels are held whole before it begins, {ids:.0f} bytes an example."
    )


def _added(run: dict) -> str:
    return f"{(run['peak_bytes'] - run['before_bytes']) / 2**20:.1f}"


def ingest_speed() -> str:
    """What the store costs beside the bare loop, and one `infer` beside timm's passes, on each device."""
    found = [json.loads(path.read_text()) for path in RESULTS.glob("*-ingest-speed.json")]
    latest = {result["device"]: result for result in sorted(found, key=lambda result: result["date"])}
    return "\n\n".join(_ingest_speed(latest[device]) for device in sorted(latest))


def _ingest_speed(result: dict) -> str:
    images = next((peers["images"] for peers in result.get("peers", [])), None)
    command = f"`python benchmarks/ingest_speed.py{'' if images is None else f' --images {images}'}`"
    where = f"{result['machine']}, {result['device']}, {result['date']}, {command}"
    lines = [
        f"One model over images in memory, {result['classes']:,} classes ({where}; medians of turns in one",
        "run, equal predictions checked first). The bare loop gets logits to the host and keeps nothing:",
        "",
        "| model | alone | bare loop | into the store | the store costs | "
        "of it checksum, write, sync, commit | once a call | device busy |",
        "|---|---|---|---|---|---|---|---|",
        *(_loop_row(found) for found in result.get("loops", [])),
        "",
        "Many models over JPEG files, each loaded from its checkpoint; timm's way is a pass a model, its",
        "results kept in memory and its loader in the settings that are fastest here:",
        "",
        "| | one `infer` | timm | share of the time | its loader's share of timm's pass |",
        "|---|---|---|---|---|",
        *(_peer_row(found) for found in result.get("peers", [])),
    ]
    return "\n".join(lines)


def _loop_row(found: dict) -> str:
    seconds = [statistics.median(times) for times in found["times_s"].values()]
    alone, bare, _, stored = (f"{found['examples'] / s:,.0f}/s" for s in seconds)
    cost = _of_turns(found["ratios"]["the store"], "from", "to")
    write = _of_turns(found["ratios"]["checksum, write, sync, commit"])
    model = f"{found['architecture']}, {found['side']} px"
    once, busy = found["fixed_s"]["median"], found["ratios"]["device busy"]["median"]
    return f"| {model} | {alone} | {bare} | {stored} | {cost} | {write} | {1e3 * once:.0f} ms | {busy:.0%} |"


def _peer_row(found: dict) -> str:
    ours, theirs = (statistics.median(found["times_s"][n]) for n in (ONE, TIMM))
    ratio = _of_turns(found["ratios"][ONE])
    decoding = sorted(found["decoding"]["loader"] / found["decoding"][m] for m in ("first", "last"))
    what = f"{len(found['models'])} {found['name']} at {found['side']} px, {found['images']:,} files of"
    decoded = " to ".join(f"{share:.0%}" for share in decoding)
    return f"| {what} {found['image_size']} | {ours:.1f} s | {theirs:.1f} s | {ratio} | {decoded} |"


def _of_turns(ratio: dict, low: str = "lowest", high: str = "highest") -> str:
    low, high = (ratio.get(name, ratio[other]) for name, other in ((low, "lowest"), (high, "highest")))
    return f"{ratio['median']:.1%} ({low:.1%} to {high:.1%})"


def storage() -> str:
    result = newest("storage")
    rows = [
        f"| {name} | {e['bytes_of_float32']:.2f} | {e['argmax_flips']:,} | {e['new_ties']:,} | "
        f"{e['largest_nll_difference']:.2g} | {e['largest_kappa_difference']:.2g} |"
        for name, e in result["effects"].items()
    ]
    n_rows = result["models"] * result["examples"]
    return "\n".join(
        [
            f"Against float32 logits, {result['models']} trained models x {result['examples']:,} examples of "
            f"{result['data']}, {n_rows:,} rows ({result['date']}, `python benchmarks/storage.py`):",
            "",
            "| kept as | bytes | argmax flips | new ties | NLL differs at most | kappa differs at most |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )


def store_speed() -> str:
    """Writing, reading and verifying beside the floor and other formats."""
    result = newest("store-speed")
    size = f"{result['examples']:,} examples x {result['classes']:,} classes"
    lines = [
        f"The store beside raw files and other formats, {size} a model, {result['models']} models read "
        f"({result['machine']}, {result['date']}, `python benchmarks/store_speed.py`; medians in one run, "
        "equal contents checked first; other formats are not durable until synced):",
        "",
        "| | median | times ours |",
        "|---|---|---|",
    ]
    for part in ("write", "read, cached", "read, cold", "verify, cached", "verify, cold"):
        rows = result["median_s"][part]
        ours = next(rows[name] for name in ("dissensus", "dissensus verify") if name in rows)
        lines += [
            f"| {part}: {name} | {1e3 * seconds:,.1f} ms | {seconds / ours:,.2f} |"
            for name, seconds in sorted(rows.items(), key=lambda item: item[1])
        ]
    fresh = result["median_s"]["fresh process"]
    for name in ("listing the models", "predictions, from the cache", "predictions, from the models"):
        lines.append(f"| {_what(name, result)} | {1e3 * fresh[name]:,.1f} ms | |")
    return "\n".join([*lines, "", _beside_chunks(result["median_s"]["write"])])


def _beside_chunks(write: dict[str, float]) -> str:
    """What a durable writer can be beside zarr-python's plain chunks: the floors, and the store."""
    chunks, synced = (write[f"zarr-python, plain chunks{end}"] for end in ("", ", synced"))
    floor, early = (write[f"raw pwrite + fsync{end}"] for end in ("", ", written back early"))
    ours = write["dissensus"]
    return (
        "How fast can a durable writer be beside zarr-python's plain chunks, which return before a byte is "
        f"on the disk? Raw `pwrite` + `fsync` of the same bytes is {chunks / floor:.2f} times as fast here, "
        f"and {chunks / early:.2f} times where each block is sent to the disk at once, without "
        f"checksums, derived columns or a commit. With these the store is {chunks / ours:.2f} times as fast, "
        f"and {synced / ours:.2f} times with the chunks synced too."
    )


def _what(name: str, result: dict) -> str:
    shape = f"{result['predicted']} models x {result['examples']:,} examples"
    listed = f"opening a store and {name} ({result['listed']:,})"
    return listed if name.startswith("listing") else f"{name} ({shape}, top-1 and correctness)"


def faults() -> str:
    """What was tried against the store, one row a group of faults."""
    result = newest("faults")
    groups = result["groups"].items()
    rows = [
        f"| {group} | {sum(f['tried'] for f in found):,} | {sum(f['held'] for f in found):,} "
        f"| {sum(f['lost'] for f in found):,} |"
        for group, found in groups
    ]
    where = f"{result['machine']}, {result['date']}, {result['seconds'] / 60:.0f} minutes"
    return "\n".join(
        [
            f"`{result['command']}` ({where}). Held means: what was acknowledged was there",
            "and whole, nothing half was visible, damage was found and refused by name and never read as",
            "a number, and the next run ended with the bytes of an unbroken one.",
            "`python -m pytest tests/test_faults.py` tries a sample.",
            "",
            "| fault | tried | held | lost |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def demo() -> str:
    """What the demo printed about categories and the ensemble, and when and where."""
    record = newest("demo-fashion-mnist")
    text = record["output"]
    categories = _section(text, "Different mistakes", "The most complementary")
    greedy = _section(text, "Members: ", "The store:")  # the steps before it are many
    return "\n".join(
        [
            f"A real result: `{record['command']}` on {record['machine']}, {record['date']}:",
            f"{record['models']} models trained, ingested and answered in {record['minutes']:.0f} minutes. "
            "Numbers are of the 10,000 official test images,",
            "which took no part in training or in choosing members (the accuracy band is drawn on them).",
            "",
            "```",
            categories,
            "",
            greedy,
            "```",
        ]
    )


def _section(text: str, start: str, stop: str) -> str:
    return text[text.index(start) : text.index(stop)].rstrip()


def aims() -> str:
    """What was aimed at, the farthest from it first."""
    return aims_table(newest)


BLOCKS = {
    "demo": demo,
    "aims": aims,
    "aims-told": lambda: readme_short.aims(aims()),
    "faults-told": lambda: readme_short.faults(newest("faults")),
    "storage-told": lambda: readme_short.storage(newest("storage")),
    "faults": faults,
    "comparisons": comparisons,
    "ingest-speed": ingest_speed,
    "ingest-memory": ingest_memory,
    "storage": storage,
    "store-speed": store_speed,
    **{
        name: partial(unless_missing, name, render)
        for module in (readme_pairs, readme_ensembles, readme_large)
        for name, render in module.BLOCKS.items()
    },
    "pictures": lambda: readme_large.pictures(RESULTS.parent / "figures"),
}


def rendered(text: str) -> str:
    """A README with every block between its markers made anew."""
    for name, render in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {name}: .*? -->\n).*?(<!-- end -->)", re.S)
        if pattern.search(text):
            block = render()
            text = pattern.sub(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text)
    return text


def main() -> None:
    texts = {path: path.read_text() for path in READMES}
    lost = [name for name in BLOCKS if not any(f"<!-- {name}: " in text for text in texts.values())]
    assert not lost, f"no README has the blocks {lost}"
    stale = {path: new for path, text in texts.items() if (new := rendered(text)) != text}
    if "--check" in sys.argv:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.exit(f"not current: {names}; run python benchmarks/readme.py" if stale else 0)
    for path, text in stale.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
