"""Blocks of the READMEs about questions of all pairs."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]
CAPA_PARTS = ("reading", "probabilities", "products")


def pair_counts(result: Result) -> str:
    ours = result["median_s"]["dissensus counts"]
    rows = [
        f"| {name} | {seconds * 1e3:,.2f} ms | {seconds / ours:,.1f} |"
        for name, seconds in sorted(result["median_s"].items(), key=lambda item: item[1])
    ]
    size = f"{result['models']:,} models x {result['examples']:,} examples"
    return "\n".join(
        [
            f"Counts of all pairs, {size}, {result['threads']} threads ({result['machine']}, "
            f"{result['date']}, `python benchmarks/pair_counts.py`; medians in one run, equal results "
            "checked first):",
            "",
            "| | median | times ours |",
            "|---|---|---|",
            *rows,
        ]
    )


def pair_queries(result: Result) -> str:
    """How long questions about all pairs take, beside what was aimed at."""
    size = f"{result['models']:,} models x {result['examples']:,} examples"
    scored = f"{result['scored']:,} models x {result['examples']:,} x {result['classes']:,} logits"
    what = {
        "dissensus pairs --top 20": f"`dissensus pairs STORE --top 20` in a new process, {size}",
        "of it, its imports": "of it, its imports",
        "all measures of answers": f"all measures of right and wrong answers, {size}",
        "all, delta intervals": 'the same with intervals, `ci="delta"`',
        "kappa, resampled intervals": f"kappa, intervals from {result['draws']:,} multinomial draws a pair",
        "capa, first time": f"CAPA from files on disk, {scored}",
        "capa, files in memory": "the same, files in memory",
        "capa, its reading alone": "its parts alone, on all threads: reading and verifying",
        "capa, its probabilities alone": "probabilities of float16 logits in the third cache",
        "capa, its products alone": "products of probabilities in the second cache",
        "the matrix products": "its float32 matrix products alone, at the machine's best rate",
    }
    rows = []
    for name, told in what.items():
        target = result["targets"].get(name)
        share = target is not None and name.startswith("capa")
        aim = "" if target is None else f"{target['aim']:g} of the rate" if share else f"{target['aim']:g} s"
        found = f" ({target['found']:.2f} of the rate)" if share else ""
        rows.append(f"| {told} | {result['median_s'][name]:,.2f} s{found} | {aim} |")
    return "\n".join(
        [
            f"Questions about all pairs ({result['machine']}, {result['date']}, "
            "`python benchmarks/pair_queries.py`; kappa was found equal to scikit-learn's to 1e-12 and "
            "CAPA to its definition first):",
            "",
            "| | median | aimed at |",
            "|---|---|---|",
            *rows,
            "",
            _parts_of_capa(result["median_s"]),
        ]
    )


def _parts_of_capa(median: dict[str, float]) -> str:
    """What CAPA would take were its parts all there is."""
    imports = median["of it, its imports"] / median["dissensus pairs --top 20"]
    reading, making, products = (median[f"capa, its {part} alone"] for part in CAPA_PARTS)
    alone, rate = reading + making + products, median["the matrix products"]
    return (
        f"Imports are {imports:.0%} of the command's time. CAPA waits for the disk the first time. It is the "
        "sum of three parts, each of which keeps all threads busy, so that none hides behind another: alone "
        f"they take {alone:.2f} s, {rate / alone:.2f} of the rate. The products alone reach "
        f"{rate / products:.2f} of it; with perfect ones the parts would take {reading + making + rate:.2f} "
        f"s, {rate / (reading + making + rate):.2f} of the rate. What CAPA takes beyond its parts, "
        f"{median['capa, files in memory'] - alone:.2f} s, is what they cost each other in the caches."
    )


def pair_scale(result: Result) -> str:
    """Partners of tens of thousands of models: time, memory, growth; the matrix beside the disk."""
    largest, written, grown = result["by_models"][-1], result["matrix"], result["exponents"]
    size = f"{largest['models']:,} models x {largest['examples']:,} examples"
    rows = [
        f"| {run['models']:,} | {run['examples']:,} | {run['pairs']:,} | {run['seconds']:,.2f} s "
        f"| {1e9 * run['seconds'] / run['pairs']:.1f} ns | {run['peak_bytes'] / 2**20:,.0f} MiB |"
        for run in result["by_models"] + result["by_examples"]
    ]
    took = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in written["seconds"].items())
    return "\n".join(
        [
            f"The {result['k']} best partners of every model by kappa, {size} and smaller, "
            f"{result['threads']} threads ({result['machine']}, {result['date']}, `python "
            "benchmarks/pair_scale.py`; answers packed in memory, one run each, equal results checked first; "
            "peak memory of the whole process):",
            "",
            "| models | examples | pairs | time | a pair | peak |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Time grows as models^{grown['models']:.2f} and examples^{grown['examples']:.2f}. The float32 "
            f"matrix of {written['models']:,} models, {written['bytes'] / 1e9:.2f} GB, all synced: {took}.",
        ]
    )


def pair_workers(result: Result) -> str:
    """Threads and Dask workers beside each other, and growth with models and examples."""
    grown = result["exponents"]
    rows = [
        f"| {run[kind]} {name}{'s' if run[kind] != 1 else ''} | {run['seconds']:,.2f} s |"
        for kind, name in (("threads", "thread"), ("workers", "Dask worker"))
        for run in result[kind]
    ]
    rows += [
        f"| {run['models']:,} models x {run['examples']:,} examples, counts alone | {run['seconds']:,.2f} s |"
        for run in result["by_models"][:-1] + result["by_examples"]
    ]
    names = ", ".join(f"`{name}`" for name in result["measures"])
    faster = {kind: -grown[kind] if grown[kind] is not None else 0 for kind in ("threads", "workers")}
    return "\n".join(
        [
            f"{names} of all pairs, {result['models']:,} models x {result['examples']:,} examples x "
            f"{result['classes']:,} classes ({result['machine']}, {result['date']}, `python "
            "benchmarks/pair_workers.py`; workers are local processes of one thread; medians, equal results "
            "checked first):",
            "",
            "| | median |",
            "|---|---|",
            *rows,
            "",
            f"Speed grows as threads^{faster['threads']:.2f} and workers^{faster['workers']:.2f}; the time "
            f"of the counts as models^{grown['models']:.2f} and examples^{grown['examples']:.2f}.",
        ]
    )


BLOCKS = {
    "pair-counts": pair_counts,
    "pair-queries": pair_queries,
    "pair-scale": pair_scale,
    "pair-workers": pair_workers,
}
