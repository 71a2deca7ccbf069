"""Where two models are good at different things: theta, its AUROC, classes, and how concentrated it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.ensemble.calibration import temperatures
from dissensus.ensemble.splits import select_and_report
from dissensus.ensemble.views import Views
from dissensus.errors import ArgumentError, UnknownName
from dissensus.kernels.probabilities import ONE
from dissensus.kernels.tails import mcnemar
from dissensus.pairs.significance import q_values
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows

from .theta import Auroc, angles, auroc, entropy_bits, entropy_if_even, share_of_classes

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Knowledge:
    """What one model knows that another lacks: the examples that only it gets right, by class.

    Attributes
    ----------
    n : int
        Number of these examples.
    entropy : float
        Entropy of their classes in bits; NaN for no example.
    entropy_if_even : float
        Mean entropy of as many examples drawn at random: what is far below it is concentrated.
    effective_classes : float
        2 to the entropy: how many classes they would fill evenly.
    share_of_classes : float
        Smallest share of the classes that holds `part` of them.
    """

    n: int
    entropy: float
    entropy_if_even: float
    effective_classes: float
    share_of_classes: float


@dataclass(frozen=True, eq=False)
class Specialisation:
    """How two models specialise.

    Attributes
    ----------
    model_a, model_b : str
        The models.
    accuracy_a, accuracy_b : float
        On the reported examples.
    counts : dict of str to int
        n, both_right, only_a, only_b, both_wrong.
    auroc : Auroc or None
        Of theta for only-a-right against only-b-right: 1 where confidence says who is right, 0.5 where it
        says nothing. None where a model has hard labels only.
    theta : dict of str to float
        Median theta in radians where both, only a, only b, none is right; empty with hard labels.
    knowledge_a, knowledge_b : Knowledge
        What a has that b lacks, and the other way round.
    part : float
        Part of the complementary knowledge that `share_of_classes` is about.
    classes : pyarrow.Table
        One row a class: class_id, class, n, accuracy_a, accuracy_b, difference (a - b), only_a, only_b,
        p_value (McNemar, exact), q_value (Benjamini-Hochberg over the classes); largest difference first.
    groups : pyarrow.Table or None
        The same by group of classes.
    points : pyarrow.Table or None
        One row an example: example_id, class_id, outcome, confidence_a, confidence_b, theta.
    splits : dict
        Where temperatures were fitted and what is reported on.
    """

    model_a: str
    model_b: str
    accuracy_a: float
    accuracy_b: float
    counts: dict[str, int]
    auroc: Auroc | None
    theta: dict[str, float]
    knowledge_a: Knowledge
    knowledge_b: Knowledge
    part: float
    classes: pa.Table
    groups: pa.Table | None
    points: pa.Table | None
    splits: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON; the table of examples is left out."""
        record = {
            name: getattr(self, name)
            for name in (
                "model_a",
                "model_b",
                "accuracy_a",
                "accuracy_b",
                "counts",
                "theta",
                "part",
                "splits",
            )
        }
        return record | {
            "auroc": None if self.auroc is None else asdict(self.auroc),
            "knowledge_a": asdict(self.knowledge_a),
            "knowledge_b": asdict(self.knowledge_b),
            "classes": self.classes.to_pylist(),
            "groups": None if self.groups is None else self.groups.to_pylist(),
        }


OUTCOMES = ("both right", "only a", "only b", "both wrong")


def specialisation(
    store: Store,
    a: str,
    b: str,
    *,
    group: str | None = None,
    part: float = 0.5,
    select: str = "fit",
    report: str | None = None,
    allow_same_split: bool = False,
    labels: str | None = None,
) -> Specialisation:
    """Say what each of two models is better at, and whether their confidences tell.

    Parameters
    ----------
    store : Store
        The predictions.
    a, b : str
        Two different models.
    group : str, optional
        Column of `Store.class_table` with groups of classes; by default its first one that makes groups,
        of names rather than numbers or identifiers.
    part : float
        Part of the complementary knowledge to find the classes of; above 0, at most 1.
    select, report : str
        Split that temperatures are fitted on, and split that is reported on: "fit" and "report"; for hard
        labels, which need no temperature, all examples by default.
    allow_same_split : bool
        Permit the two to share examples.
    labels : str, optional
        Label set that decides what is right. An example with several right classes counts in the lowest.

    Returns
    -------
    Specialisation

    Raises
    ------
    ArgumentError, UnknownName
        The same model twice, `part` out of its range, a column or split that is not there, shared examples.

    Notes
    -----
    Theta is that of Gontijo-Lopes et al. 2021, section 4.2, on temperature-scaled confidences; examples that
    only one of two models gets right are "complementary knowledge" in Roth et al. 2024 ("Fantastic Gains and
    Where to Find Them").

    Examples
    --------
    >>> ds.specialisation(store, "resnet50", "clip").auroc  # doctest: +SKIP
    """
    store = store.under(labels)
    ids = [store.model(m).model_id for m in (a, b)]
    if a == b:
        raise ArgumentError(f"a and b must be two different models; got {a!r} twice")
    if not 0 < part <= 1:
        raise ArgumentError(f"part must be above 0 and at most 1; got {part}")
    scored = all(store.model(m).kind != "labels" for m in ids)
    groups = class_groups(store, group)
    if scored:
        fit, rows = select_and_report(store, select, report or "report", allow_same_split)
        fitted = temperatures(store, ids, fit)
        confidence = _confidences(store, ids, rows, fitted)
    else:
        rows, fitted, confidence = store.rows(report or "all"), {}, None
    splits = {
        "report": report or ("report" if scored else "all"),
        "n_examples": len(rows),
        "select": select if scored else None,
        "temperatures": fitted,
    }
    return _told(store, ids, rows, confidence, groups, part, splits)


def _confidences(
    store: Store, ids: Sequence[str], rows: Rows, fitted: Mapping[str, float]
) -> NDArray[np.float32]:
    """Calibrated probability of each model's first class, (M, n)."""
    first = Views.of(store, ids, rows, fitted).q[:, 0]
    return (first.T / np.float64(ONE)).astype(np.float32)


def _told(
    store: Store,
    ids: Sequence[str],
    rows: Rows,
    confidence: NDArray[np.float32] | None,
    groups: tuple[str, list[Any]] | None,
    part: float,
    splits: dict[str, Any],
) -> Specialisation:
    right_a, right_b = store.correct(ids)[:, rows]
    classes, n_classes = store.truth.take(rows).first, store.n_classes
    outcome = np.where(right_a, np.where(right_b, 0, 1), np.where(right_b, 2, 3))
    theta = None if confidence is None else angles(confidence[0], confidence[1])
    knowledge = [
        _knowledge(classes[outcome == side], np.bincount(classes, minlength=n_classes), part)
        for side in (1, 2)
    ]
    ordered = np.bincount(outcome, minlength=4).tolist()
    names = ("both_right", "only_a", "only_b", "both_wrong")
    grouped = points = None
    if theta is not None and confidence is not None:
        points = _points(store, rows, outcome, confidence, theta)
    if groups is not None:
        values = list(dict.fromkeys(groups[1]))
        of_class = np.array([values.index(value) for value in groups[1]])
        grouped = differences(of_class[classes], right_a, right_b, groups[0], values)
    return Specialisation(
        model_a=ids[0],
        model_b=ids[1],
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        counts={"n": len(rows), **dict(zip(names, ordered, strict=True))},
        auroc=None if theta is None else auroc(theta[outcome == 1], theta[outcome == 2]),
        theta={} if theta is None else _medians(theta, outcome),
        knowledge_a=knowledge[0],
        knowledge_b=knowledge[1],
        part=part,
        classes=differences(classes, right_a, right_b, "class", store.classes, ids=True),
        groups=grouped,
        points=points,
        splits=splits,
    )


def _knowledge(classes: NDArray[Any], sizes: NDArray[np.int64], part: float) -> Knowledge:
    counts = np.bincount(classes, minlength=len(sizes))
    bits = entropy_bits(counts)
    there = counts[sizes > 0]  # a class without examples holds nothing for anybody
    even = entropy_if_even(len(classes), sizes)
    return Knowledge(len(classes), bits, even, 2**bits, share_of_classes(there, part))


def _medians(theta: NDArray[np.float64], outcome: NDArray[Any]) -> dict[str, float]:
    some = {name: theta[outcome == place] for place, name in enumerate(OUTCOMES)}
    return {name: float(np.median(v)) if len(v) else math.nan for name, v in some.items()}


def differences(
    of: NDArray[Any], right_a: Bools, right_b: Bools, title: str, names: Sequence[Any], ids: bool = False
) -> pa.Table:
    """Accuracies and flips of two models within classes or groups, tested; largest difference first.

    Parameters
    ----------
    of : (n,) int
        Class or group of each example.
    right_a, right_b : (n,) bool
        Right answers.
    title, names
        What the first column is called, and its values by number.
    ids : bool
        Add the number as ``class_id``.
    """
    here = np.unique(of)
    n, a, b, only_a, only_b = (
        np.bincount(of, weights=w, minlength=len(names))[here].astype(np.int64)
        for w in (np.ones(len(of)), right_a, right_b, right_a & ~right_b, right_b & ~right_a)
    )
    p = mcnemar(only_a, only_b)
    order = np.lexsort((here, -np.abs((a - b) / n)))
    columns = {
        **({"class_id": here} if ids else {}),
        title: [names[i] for i in here.tolist()],
        "n": n,
        "accuracy_a": a / n,
        "accuracy_b": b / n,
        "difference": (a - b) / n,
        "only_a": only_a,
        "only_b": only_b,
        "p_value": pa.array(p, from_pandas=True),
        "q_value": pa.array(q_values(p), from_pandas=True),
    }
    return pa.table(columns).take(order)


def _points(
    store: Store,
    rows: Rows,
    outcome: NDArray[Any],
    confidence: NDArray[np.float32],
    theta: NDArray[np.float64],
) -> pa.Table:
    ids = store.example_ids
    return pa.table(
        {
            "example_id": [ids[i] for i in rows.tolist()],
            "class_id": store.truth.take(rows).first,
            "outcome": [OUTCOMES[i] for i in outcome.tolist()],
            "confidence_a": confidence[0],
            "confidence_b": confidence[1],
            "theta": theta,
        }
    )


def class_groups(store: Store, column: str | None) -> tuple[str, list[Any]] | None:
    """Column of groups of classes, and the group of each class; None where classes have none.

    Raises
    ------
    UnknownName
    """
    table = store.class_table()
    known = [name for name in table.column_names if name not in ("class_id", "name")]
    if column is not None and column not in known:
        raise UnknownName.of(
            "group column", column, known, "(columns of the class table: create(…, class_metadata=))"
        )
    if column is not None:
        return column, table[column].to_pylist()
    able = [name for name in known if 1 < len({*map(str, table[name].to_pylist())}) < len(table)]
    best = next((name for name in able if _has_names(table[name])), able[0] if able else None)
    return None if best is None else (best, table[best].to_pylist())


def _has_names(column: pa.ChunkedArray) -> bool:
    """Whether people can read it: numbers and identifiers are mostly digits."""
    text = "".join(map(str, column.to_pylist()))
    return 2 * sum(c.isdigit() for c in text) < len(text)
