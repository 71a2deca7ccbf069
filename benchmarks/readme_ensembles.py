"""Blocks of the READMEs about ensembles: steps of greedy selection, their peers, and all pairs."""

from __future__ import annotations

from typing import Any

Result = dict[str, Any]


def greedy(result: Result) -> str:
    """A step beside brute force, and a zoo of the reference size."""
    zoo, ours = result["zoo"], result["median_s"]["certified"]
    rows = [
        f"| {name} | {1e3 * seconds:,.1f} ms | {seconds / ours:,.1f} |"
        for name, seconds in sorted(result["median_s"].items(), key=lambda item: item[1])
    ]
    share = result["targets"]["open_share"]["found"]
    return "\n".join(
        [
            f"A step of greedy selection by accuracy, {_size(result)}, all in memory ({_where(result)}, "
            "`python benchmarks/greedy.py`; medians, equal hits of every candidate checked first):",
            "",
            "| | a step | times ours |",
            "|---|---|---|",
            *rows,
            "",
            f"After the first step {100 * share:.2g} % of all (candidate, example) pairs are read from full "
            f"rows. {len(zoo['step_s'])} steps over {_size({**zoo, 'classes': result['classes']})} take "
            f"{zoo['seconds']:.2f} s from views, which take {zoo['views_s']:,.0f} s to make (their rows are "
            f"drawn from a seed meanwhile), and {zoo['peak_bytes'] / 2**20:,.0f} MiB.",
        ]
    )


def greedy_peers(result: Result) -> str:
    """Steps of the libraries beside ours, and beside our own brute force."""
    rows = [
        f"| {row['metric']} | {row['way']} | {1e3 * row['step_s']:,.3f} ms | {row['times_our_step']:,.1f} "
        f"| {1e3 * row['choice_s']:,.3f} ms | {row['times_our_choice']:,.1f} | {_ms(row['set_up_s'])} "
        f"| {_ms(row['accuracy_besides_s'])} |"
        for row in sorted(result["rows"], key=lambda row: (row["metric"], row["times_our_step"]))
    ]
    peers = ", ".join(
        f"{name} {result['versions'][name]}"
        for name in ("autogluon.core", "tabarena")
        if name in result["versions"]
    )
    return "\n".join(
        [
            f"A step of greedy selection beside the libraries people use, {_size(result)}, "
            f"{result['steps']} steps ({_where(result)}, "
            f"`.peers/bin/python benchmarks/greedy_peers.py`; {peers or 'no peers'}; medians, equal "
            "values after each step checked first):",
            "",
            "| by | | a step | times ours | its choice | times ours | once beforehand | accuracy besides |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def pair_ensembles(result: Result) -> str:
    """All pairs as ensembles, and what is left to full rows."""
    ours = result["times_s"]["all pairs from views"]
    rows = [
        f"| {'making the views' if name == 'views' else name} | {seconds:,.1f} s | {seconds / ours:,.1f} |"
        for name, seconds in sorted(result["times_s"].items(), key=lambda item: item[1])
    ]
    surer, share = result["surer_models"], result["targets"]["share by full rows"]["found"]
    return "\n".join(
        [
            f"All pairs as ensembles, {_size(result)} ({_where(result)}, "
            f"`python benchmarks/pair_ensembles.py`; {result['examples_counted']:,} examples counted and "
            "scaled to all, full rows and NumPy timed on some and scaled, equal counts checked first):",
            "",
            "| | time | times ours |",
            "|---|---|---|",
            *rows,
            "",
            f"Full rows decide {100 * share:.4f} % of the answers where models give their first class "
            f"{result['confidence']:.2f} on average, and {100 * surer['share_of_rows']:.4f} % where they "
            f"give it {surer['confidence']:.2f}.",
        ]
    )


def explain(result: Result) -> str:
    """Explanations, profiles and replacements beside NumPy, what is worst for us first."""
    answers = f"{result['models']:,} models x {result['examples']:,} examples"
    scores = f"{result['members']:,} members x {result['scored_examples']:,} examples x {result['classes']:,}"
    what = {
        "why": f"`why` of an ensemble, {scores} classes, half of the examples explained",
        "profiles": f"`profiles` of all examples, {answers}",
        "replacements": f"`replacements` of a model, {answers}; NumPy counts negative flips alone",
    }
    median = result["median_s"]
    ratio = {name: median[f"{name}, NumPy"] / median[name] for name in what}
    rows = [
        f"| {what[name]} | {ratio[name]:,.2f} | {1e3 * median[name]:,.1f} ms "
        f"| {1e3 * median[f'{name}, NumPy']:,.1f} ms |"
        for name in sorted(what, key=ratio.__getitem__)
    ]
    return "\n".join(
        [
            f"From a store, beside NumPy in float64 on arrays that are in memory ({_where(result)}, `python "
            f"benchmarks/explain.py`; medians of {result['repeats']} runs, equal results checked first: "
            "discriminations to 1e-9, risks to 1e-6, flips exactly, leave-one-out hits but for ties that "
            "rounding decides; below 1 we lose):",
            "",
            "| | times ours | ours | NumPy |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _size(result: Result) -> str:
    return " x ".join(f"{result[name]:,}" for name in ("models", "examples", "classes"))


def _where(result: Result) -> str:
    return f"{result['machine']}, {result['date']}"


def _ms(seconds: float | None) -> str:
    """Nothing where nothing is done: less than a microsecond is the clock's."""
    return "" if seconds is None or seconds < 1e-6 else f"{1e3 * seconds:,.3f} ms"


BLOCKS = {
    "greedy": greedy,
    "greedy-peers": greedy_peers,
    "pair-ensembles": pair_ensembles,
    "explain": explain,
}
