"""What a person should conclude, in sentences made of numbers; each says no more than its interval allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import pyarrow as pa

ALPHA = 0.05  # q-value up to which a slice is named
NAMED = 3  # slices and members named in a sentence


def conclusions(
    *,
    ledger: pa.Table,
    against: pa.Table,
    members: pa.Table,
    slices: pa.Table,
    combine: str,
    splits: Mapping[str, Any],
    single: str,
    cost: Mapping[str, Any],
    level: float,
) -> list[str]:
    """Sentences about an explained ensemble; arguments are as in `Why`. The verdict comes first."""
    rows = against.to_pylist()
    accuracy = {row["versus"]: row for row in rows if row["metric"] == "accuracy"}
    sentences = [
        _verdict(accuracy["best single"], accuracy.get("equal cost"), splits, level),
        *_scores([row for row in rows if row["versus"] == "best single" and row["metric"] != "accuracy"]),
        *_diversity(ledger.to_pylist()),
        *_members(members.to_pylist(), level),
        *_where(slices.to_pylist()),
        *_cost(cost, accuracy.get("equal cost"), single),
    ]
    if splits["same_examples"]:
        sentences.append(
            "Caution: the ensemble was chosen on examples that it is reported on; report on another split."
        )
    return sentences


def _verdict(
    row: Mapping[str, Any], equal: Mapping[str, Any] | None, splits: Mapping[str, Any], level: float
) -> str:
    report = splits["report"]
    chosen = f" where {report['where']}" if "where" in report else ""
    on = f"on {report['n_examples']:,} examples of split {report['name']!r}{chosen}"
    if equal is not None and equal["high"] < 0:
        return (
            f"Use {equal['model']} alone: {on} it is more accurate than the ensemble, by "
            f"{-100 * equal['gain']:.2f} points {_interval(equal, -1)} at {level:.0%}, and costs no more."
        )
    gain = f"{_points(row['gain'])} points of accuracy {_interval(row)} at {level:.0%}"
    if row["low"] > 0:
        return f"Use the ensemble: {on} it gains {gain}, over the best single model {row['model']}."
    if row["high"] < 0:
        return f"Use {row['model']} alone: {on} the ensemble loses, {gain}."
    if row["low"] == row["high"] == 0:
        return f"Use {row['model']} alone: {on} the ensemble is right exactly where it is."
    return (
        f"No gain is shown over {row['model']}: {on} it is {gain}, which includes 0. "
        "Use the single model, or report on more examples."
    )


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """NLL and Brier against the best single model."""
    names = {"nll": "NLL", "brier": "Brier score"}
    parts = [
        f"its {names[row['metric']]} is {row['ensemble']:.4f} against {row['single']:.4f} ({_direction(row)})"
        for row in rows
    ]
    return [f"As for its probabilities, {' and '.join(parts)}."] if parts else []


def _direction(row: Mapping[str, Any]) -> str:
    if row["low"] > 0:
        return "better"
    return "worse" if row["high"] < 0 else "no clear difference"


def _diversity(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ledger of the likeliest risk there is: NLL, or errors of votes."""
    row = next((row for row in rows if row["metric"] == "nll"), rows[0])
    name, digits = ("NLL", 4) if row["metric"] == "nll" else ("error", 4)
    member, diversity, ensemble = (
        f"{row[part]:.{digits}f}" for part in ("member_risk", "diversity", "ensemble_risk")
    )
    share = f" ({row['diversity'] / row['member_risk']:.0%})" if row["member_risk"] > 0 else ""
    return [
        f"Alone, its members have a mean {name} of {member}; their differences take off {diversity}{share}, "
        f"which leaves {ensemble}."
    ]


def _members(rows: Sequence[Mapping[str, Any]], level: float) -> list[str]:
    """Who brings the gain, and who could be left out: named where an interval for all members together tells.

    Of twenty members that bring nothing, one would stand out by an interval of its own (Bonferroni).
    """
    if len(rows) < 2:
        return ["It has one member, so there is nothing to take away."]
    ordered = sorted(rows, key=lambda row: -row["value_accuracy"])
    wider = NormalDist().inv_cdf(1 - (1 - level) / 2 / len(rows)) / NormalDist().inv_cdf((1 + level) / 2)
    sure = [row for row in ordered if _beyond(row, "low", wider) > 0]
    harmful = [row for row in ordered[::-1] if _beyond(row, "high", wider) < 0]
    together = f"at {level:.0%} for all members together"
    said = []
    if sure:
        parts = [f"{row['member']} ({100 * row['value_accuracy']:.2f})" for row in sure[:NAMED]]
        named = _list(parts, len(sure))
        said.append(f"It would lose accuracy without {named} (points lost in brackets; {together}).")
    else:
        said.append(
            "No member alone can be shown to matter: each could be left out without a clear loss of accuracy "
            f"({together})."
        )
    if harmful:
        parts = [f"{row['member']} ({-100 * row['value_accuracy']:.2f})" for row in harmful[:NAMED]]
        named = _list(parts, len(harmful))
        said.append(f"It would be better without {named} (points gained in brackets; {together}).")
    idle = len(rows) - len(sure) - len(harmful)
    if sure and idle:
        each = "each " if idle > 1 else ""
        said.append(f"Of {len(rows)} members, {idle} could {each}be left out without a clear change.")
    return said


def _beyond(row: Mapping[str, Any], end: str, wider: float) -> float:
    """End of the interval of a member's value, so many times as far from it."""
    value, there = float(row["value_accuracy"]), float(row[f"value_accuracy_{end}"])
    return value + wider * (there - value)


def _where(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Slices that changed beyond chance, most changed first, of each kind."""
    return [said for by in dict.fromkeys(row["by"] for row in rows) for said in _where_by(by, rows)]


def _where_by(by: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    own = [row for row in rows if row["by"] == by]
    if len(own) < 2:  # it is all examples, which are told before
        return []
    what, said = f"{len(own):,} slices by {by}", []
    sure = [row for row in own if row["q_value"] is not None and row["q_value"] <= ALPHA]
    for verb, sign in (("gain", 1), ("lose", -1)):
        some = sorted((row for row in sure if sign * _change(row) > 0), key=lambda row: -sign * _change(row))
        parts = [f"{_name(row['value'])} ({_change(row):+d} of {row['n']:,})" for row in some[:NAMED]]
        if some:
            ending = "s" if len(some) == 1 else ""
            said.append(f"Of {what}, {len(some)} {verb}{ending} beyond chance: {_list(parts, len(some))}.")
    return said or [f"Of {what}, none gains or loses beyond chance (q <= {ALPHA:g})."]


def _change(row: Mapping[str, Any]) -> int:
    """Right answers more, or fewer."""
    return int(row["gained"]) - int(row["lost"])


def _name(value: str | None) -> str:
    return "(no value)" if value is None else value


def _cost(cost: Mapping[str, Any], row: Mapping[str, Any] | None, single: str) -> list[str]:
    """Price, and the strongest single model for it."""
    if not cost:
        return []
    said = []
    if cost["single"]:
        times = cost["members"] / cost["single"]
        said.append(f"It costs {cost['members']:.4g} {cost['name']}, {times:.1f} times {single}.")
    if row is not None and row["model"] != single:
        sign = "more" if row["low"] > 0 else "less" if row["high"] < 0 else "not clearly more or less"
        said.append(
            f"At no more than that cost the strongest single model is {row['model']}: the ensemble is {sign} "
            f"accurate, {_points(row['gain'])} points {_interval(row)}."
        )
    elif cost["equal"] == single:
        said.append(f"No single model of at most that cost is stronger than {single} on the selection split.")
    return said


def _points(share: float) -> str:
    return f"{100 * share:+.2f}"


def _interval(row: Mapping[str, Any], sign: int = 1) -> str:
    low, high = sorted((sign * row["low"], sign * row["high"]))
    return f"[{_points(low)}, {_points(high)}]"


def _list(parts: Sequence[str], there: int) -> str:
    more = f" and {there - len(parts)} more" if there > len(parts) else ""
    return ", ".join(parts) + more
