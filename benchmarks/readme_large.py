"""Blocks of the READMEs about real and large stores: what was measured on them, beside what was foretold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

Result = dict[str, Any]
SIZES = ("models", "examples", "classes")


def study(result: Result) -> str:
    aim = {name: target["aim"] for name, target in result["targets"].items()}
    return (
        f"`dissensus study` of {_size(result)} in a new process: {result['seconds']:,.0f} s (aimed at "
        f"{aim['seconds']:,.0f} s) and {_mib(result['peak_anonymous_bytes'])} of memory without mapped files "
        f"(aimed at {_mib(aim['peak_anonymous_bytes'])}; {_where(result)}, `python benchmarks/study.py`; its "
        "first table was recomputed with NumPy)."
    )


def full_store(result: Result) -> str:
    what = {
        "greedy": f"greedy selection of {result['steps']} members on all examples",
        "pairs": "accuracy, improvement and conversion rate of all pairs as ensembles",
        "duo": "the weighted duo of two models",
    }
    private = result.get("private_bytes", {})
    rows = [
        f"| {what[name]} | {_s(times.get('cold'))} | {_s(times.get('warm'))} "
        f"| {_mib(private[name]) if name in private else '–'} |"
        for name, times in result["times_s"].items()
    ]
    return "\n".join(
        [
            f"From a store of {result['store_bytes'] / 1e9:.1f} GB, {_size(result)} ({_where(result)}, load "
            f"{result['load_before']} before, `python benchmarks/full_store.py`;",
            "equal results when asked again; memory without mapped files):",
            "",
            "| | files on disk | files in memory | memory |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def sweep(result: Result) -> str:
    """Time and memory of every job at every size, and how they grow."""
    rows = [
        f"| {row['job']} | {_size(row)} | {row['seconds']:,.2f} s | {_foretold(row, 'seconds')} "
        f"| {_mib(row['peak_memory_bytes'])} | {_foretold(row, 'memory_bytes')} |"
        for row in result["rows"]
    ]
    grown = [
        f"{row['job']}, {'time' if row['of'] == 'seconds' else 'memory'}: {_exponents(row)}"
        for row in result["growth"]
        if _exponents(row)
    ]
    return "\n".join(
        [
            "Each in a process of its own that compiles nothing meanwhile, short jobs the fastest of several",
            f"runs; memory without mapped files ({_where(result)}, `python benchmarks/sweep.py`).",
            "Foretold is by `dissensus plan`, from calibrations at small sizes alone:",
            "",
            "| job | models x examples x classes | time | foretold, of it | peak memory | foretold, of it |",
            "|---|---|---|---|---|---|",
            *rows,
            *_of_one_store(result),
            *(["", f"Growth: {'; '.join(grown)}."] if grown else []),
            *_left_out(result),
        ]
    )


def _of_one_store(result: Result) -> list[str]:
    """What to know of sizes that are parts of a larger store."""
    if not result.get("store_models"):
        return []
    return [
        "",
        f"All sizes are models of one store of {result['store_models']:,}. Of a part of them, pairs read the "
        "predicted classes model by model; of all of them, from the copy that the store keeps: forecasts "
        "are of stores of that size.",
    ]


def _foretold(row: Result, what: str) -> str:
    return f"{row[f'{what}_ratio']:.2f}" if f"{what}_ratio" in row else "–"  # of a result before forecasts


def predictions(result: Result) -> str:
    """Forecasts beside measurements; too little memory, which is the worst there is, first."""
    rows = sorted(
        result["rows"], key=lambda row: (row["memory_bytes_ratio"] >= 1, -row["memory_bytes_ratio"])
    )
    lines = [
        f"| {row['job']} | {_size(row)} "
        f"| {_mib(row['memory_bytes'])} | {_mib(row['predicted_memory_bytes'])} "
        f"| {row['memory_bytes_ratio']:.2f} | {row['seconds']:.2f} s | {row['predicted_seconds']:.2f} s "
        f"| {row['seconds_ratio']:.2f} |"
        for row in rows
    ]
    aims = [f"{name}: {t['found']:.0%} (aim {t['aim']:.0%})" for name, t in result["targets"].items()]
    return "\n".join(
        [
            f"Of {len(rows)} forecasts ({_where(result)}, load {result['load_before']} before, `python "
            "benchmarks/predictions.py`)",
            f"{'; '.join(aims)}.",
            "",
            "| job | models x examples x classes | memory | forecast | ratio | time | forecast | ratio |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
            *_left_out(result),
        ]
    )


def imports(result: Result) -> str:
    """Importing what others have predicted, beside reading the same files."""
    rows = [
        f"| {name} | {ways['dissensus']:.2f} s | {result['targets'][name]['aim']} s | {notebook:.2f} s |"
        for name, ways in result["median_s"].items()
        for notebook in [next(seconds for way, seconds in ways.items() if way != "dissensus")]
    ]
    return "\n".join(
        [
            f"Importing real predictions ({_where(result)}, `python benchmarks/imports.py`; each command in "
            "a new process, equal accuracies checked first):",
            "",
            "| | `create`, `import`, `annotate` (ReaL) | aimed at | `csv`, `json` and NumPy, nothing kept |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def pictures(figures: Path) -> str:
    """What `pictures.py` has drawn."""
    paths = sorted(figures.glob("scaling-*.png"))
    if not paths:
        return "Not drawn yet: `python benchmarks/pictures.py`."
    names = [path.stem.removeprefix("scaling-").replace("-", " ") for path in paths]
    drawn = [f"![{name}](figures/{path.name})" for name, path in zip(names, paths, strict=True)]
    return "\n\n".join(drawn)


def _left_out(result: Result) -> list[str]:
    return ["", f"Left out: {'; '.join(result['left_out'])}."] if result["left_out"] else []


def _exponents(row: Result) -> str:
    return " ".join(f"{name}^{row[name]:.2f}" for name in SIZES if row[name] is not None)


def _size(result: Result) -> str:
    return " x ".join(f"{result[name]:,}" for name in SIZES)


def _where(result: Result) -> str:
    return f"{result['machine']}, {result['date']}"


def _s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:,.1f} s"


def _mib(n_bytes: float) -> str:
    return f"{n_bytes / 2**20:,.0f} MiB"


def synthetic(result: Result) -> str:
    """Statistics of a real zoo and of a synthetic one of its size."""
    rows = [
        f"| {name} | {both['real']:.3f} | {both['synthetic']:.3f} |"
        for name, both in result["statistics"].items()
    ]
    return "\n".join(
        [
            f"A real zoo, {result['store']} of {_size(result)}, and a synthetic one of its size "
            f"({result['date']}, `python benchmarks/synthetic.py {result['store']}`):",
            "",
            "| | real | synthetic |",
            "|---|---|---|",
            *rows,
        ]
    )


BLOCKS = {
    "synthetic": synthetic,
    "imports": imports,
    "full-store": full_store,
    "study": study,
    "sweep": sweep,
    "predictions": predictions,
}
