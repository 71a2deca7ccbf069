"""An ensemble as a person reads it: how it was found, who is in it, what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import cell, render

if TYPE_CHECKING:
    from dissensus import Ensemble
    from dissensus.ensemble import Interval

TITLES = {"nll": "NLL", "brier": "Brier"}
GAINS = {  # scale, digits, unit
    "accuracy": (100, 2, "points of accuracy"),
    "balanced_accuracy": (100, 2, "points of balanced accuracy"),
    "nll": (1, 4, "nats of log-likelihood"),
    "brier": (1, 4, "of Brier score"),
}


def summary(best: Ensemble, where: str = "", *, to_file: bool = False) -> str:
    """Curve, members and the answer in words; `where` names a label set that is not the store's own."""
    parts = [_found(best, where, to_file), *_ends(best), _members(best), *_costs(best, to_file)]
    return "\n".join([*parts, verdict(best, where)]) + "\n"


def _found(best: Ensemble, where: str, to_file: bool) -> str:
    """Step by step; of bags or folds, how often each was chosen."""
    select, how = best.splits["select"], " of votes" if best.combine == "votes" else ""
    counted = f"{where} ({select['n_examples']:,} examples counted)" if where else ""
    kind = "Beam search" if best.search.get("beam", 1) > 1 else "Greedy selection"
    title = f"{kind} by {best.metric}{how} on split {select['name']!r}{_which(best)}{counted}"
    table = best.curve
    if "bags" in best.search and best.stability is not None:
        table, title = best.stability, f"{title}, {best.search['bags']} bags: how often each model is chosen"
    elif best.combine != "votes" and best.certificate is None and len(best.members) < table.num_rows:
        title += "; a member chosen again gets more weight"
    return render(table, title, to_file=to_file)


def _which(best: Ensemble) -> str:
    """Which examples count, and by what, where not all count alike."""
    chosen, weights = best.search.get("where"), best.search.get("example_weights")
    return (f" where {chosen}" if chosen else "") + (f", weighted ({weights})" if weights else "")


def _ends(best: Ensemble) -> list[str]:
    """Where the search stopped early, and what was taken back or dropped."""
    steps, lines = best.curve.num_rows, []
    if best.stopped == "candidates" and "bags" not in best.search:
        lines.append(f"Ended after {steps} members, before the size asked for: no further model was allowed")
    if best.stopped == "patience" and "bags" not in best.search:
        lines.append(f"Ended after {steps} members: the last {best.search['patience']} brought no new best")
    if best.length < steps:
        lines.append(f"Taken back to step {best.length}, the best on split {best.splits['select']['name']!r}")
    if best.dropped:
        lines.append(f"Dropped, no worse without: {', '.join(best.dropped)}")
    return lines


def _members(best: Ensemble) -> str:
    members = ", ".join(f"{m} ({w:.0%})" for m, w in zip(best.members, best.weights, strict=True))
    proof = best.certificate
    sure = f"\nWeights with the least {_title(proof.metric)}, proven to {proof.gap:.1g}" if proof else ""
    return f"Members: {members}{sure}"


def _costs(best: Ensemble, to_file: bool) -> list[str]:
    """Cost, and the steps worth their cost."""
    if best.costs is None:
        return []
    limit = "" if best.costs.limit is None else f" of at most {cell(best.costs.limit)}"
    front = render(best.pareto, f"Worth their cost (Pareto front by {best.metric})", to_file=to_file)
    return [f"Cost: {best.costs.name} {cell(best.costs.total)}{limit}\n", front]


def verdict(best: Ensemble, where: str = "") -> str:
    """Ensemble against the best single model, in words."""
    report = best.splits["report"]
    held = "" if best.splits["same_examples"] else " that took no part in the choice"
    where = f"{_which(best)}{where}"
    lines = [
        f"On split {report['name']!r}, {report['n_examples']:,} examples{where}{held}:",
        f"  ensemble           {_numbers(best.report)}",
        f"  best single model  {_numbers(best.single_report)}  {best.single}",
        f"  gain               {_gain(best.interval)}",
    ]
    if "folds" in best.splits:
        lines[0] = (
            f"On {best.splits['folds']} folds, {report['n_examples']:,} examples{where}, each under what was "
            "calibrated and chosen without it:"
        )
    if best.equal_cost is not None and best.equal_cost.versus == best.single:
        lines.append("  at equal cost      the same single model")
    elif best.equal_cost is not None:
        lines.append(f"  at equal cost      {_gain(best.equal_cost)}, over {best.equal_cost.versus}")
    if best.splits["same_examples"]:
        lines.append("Caution: selected and reported on shared examples; these numbers are too good.")
    if best.left_out:
        lines.append(f"Left out (hard labels only; --combine votes takes them): {', '.join(best.left_out)}")
    return "\n".join(lines)


def _gain(gain: Interval) -> str:
    """Gain with its interval: points of accuracy, or nats of NLL."""
    scale, digits, unit = GAINS[gain.metric]
    value, low, high = (f"{scale * x:+.{digits}f}" for x in (gain.gain, gain.low, gain.high))
    verdict = "" if gain.low > 0 else ": a loss" if gain.high < 0 else ", which includes no gain"
    return f"{value} {unit}, {gain.level:.0%} interval [{low}, {high}]{verdict}"


def _numbers(values: dict[str, float]) -> str:
    return ", ".join(f"{_title(name)} {value:.4f}" for name, value in values.items())


def _title(metric: str) -> str:
    return TITLES.get(metric, metric.replace("_", " "))
