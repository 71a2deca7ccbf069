"""The tidy table behind each figure of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dissensus.kernels.tails import t_quantile
from dissensus.store.catalog import Store

from .measuring import Measured
from .specialisation import class_groups
from .theta import entropy_bits, share_of_classes
from .trends import line, line_band, mean_interval

BINS, FINE_BINS, MANY = 18, 36, 300  # of a histogram of theta: 5 degrees, or 2.5 from so many examples on
LEAST_OF_GROUP = 5  # inconsistent examples of a group of classes from which their mean gets an interval
MOST_BINS = 20  # groups of consecutive classes where none are recorded
FITTED = ("improvement", "pair_accuracy", "conversion_rate")
AT = 60  # points of a fitted line
OUTCOMES = ("both right", "only base right", "only the other right", "both wrong")


def models_table(found: Measured) -> pa.Table:
    """One row a model other than the base: how it compares with the base, on the reported examples."""
    zoo, others = found.zoo, found.zoo.others
    tables, n = zoo.counts.tables(np.full_like(others, zoo.base), others), zoo.counts.n
    pair = found.with_base()
    columns: dict[str, Any] = {
        "model": [zoo.model_ids[i] for i in others],
        "category": [zoo.category[i] for i in others],
        "accuracy": zoo.accuracy[others],
        "in_band": zoo.in_band[others],
        "error_inconsistency": zoo.measured("error_inconsistency")[zoo.base, others],
        "error_consistency": _nullable(zoo.measured("error_consistency")[zoo.base, others]),
        "both_right": tables[0] / n,
        "only_base_right": tables[1] / n,
        "only_model_right": tables[2] / n,
        "both_wrong": tables[3] / n,
    }
    columns |= {name: _nullable(values[others]) for name, values in pair.items()}
    aurocs = [found.aurocs[i] for i in others]
    for title, part in (("theta_auroc", "value"), ("theta_auroc_low", "low"), ("theta_auroc_high", "high")):
        columns[title] = _nullable(np.array([np.nan if a is None else getattr(a, part) for a in aurocs]))
    classes = zoo.store.truth.take(zoo.rows).first
    where = [np.bincount(classes[found.only(i)[1]], minlength=zoo.store.n_classes) for i in others]
    columns["knowledge_entropy_bits"] = _nullable(np.array([entropy_bits(w) for w in where]))
    columns["half_of_knowledge_in_classes"] = _nullable(np.array([share_of_classes(w, 0.5) for w in where]))
    return pa.table(columns)


def categories_table(found: Measured, models: pa.Table) -> pa.Table:
    """One row a category: means over its models inside the band, with Student's intervals."""
    category, inside = np.array(models["category"].to_pylist(), object), numbers(models, "in_band") > 0
    rows = []
    for name in found.zoo.order:
        chosen = (category == name) & inside
        row: dict[str, Any] = {
            "category": name,
            "n_models": int((category == name).sum()),
            "n_in_band": int(chosen.sum()),
        }
        for column in ("error_inconsistency", "error_consistency", *FITTED):
            mean = mean_interval(defined(numbers(models, column)[chosen]))
            row |= {column: mean.value, f"{column}_low": mean.low, f"{column}_high": mean.high}
        for column in ("accuracy", "both_right", "only_base_right", "only_model_right", "both_wrong"):
            row[column] = mean_interval(numbers(models, column)[chosen]).value
        rows.append({key: None if value != value else value for key, value in row.items()})
    kinds = {"category": pa.string(), "n_models": pa.int64(), "n_in_band": pa.int64()}
    schema = pa.schema([(key, kinds.get(key, pa.float64())) for key in rows[0]])
    return pa.Table.from_pylist(rows, schema)


def lines_table(models: pa.Table) -> pa.Table:
    """Fitted lines over error inconsistency inside the band, with the bootstrap band over models."""
    return line_rows(models.filter(models["in_band"]), FITTED)


def line_rows(models: pa.Table, measures: Sequence[str]) -> pa.Table:
    """Fitted line of each measure over error inconsistency, with its bootstrap band over models."""
    x, parts = numbers(models, "error_inconsistency"), []
    for name in measures:
        y = numbers(models, name)
        used = ~np.isnan(y)
        if used.sum() < 2:
            continue
        at = np.linspace(x[used].min(), x[used].max(), AT)
        low, high = line_band(x[used], y[used], at)
        columns = {"fitted": line(x[used], y[used], at), "low": low, "high": high}
        parts.append(
            pa.table(
                {"measure": [name] * AT, "error_inconsistency": at}
                | {key: _nullable(values) for key, values in columns.items()}
            )
        )
    empty = {"measure": pa.array([], pa.string()), "error_inconsistency": pa.array([], pa.float64())}
    empty |= {key: pa.array([], pa.float64()) for key in ("fitted", "low", "high")}
    return pa.concat_tables([pa.table(empty), *parts])


def comparable(found: Measured) -> list[int]:
    """Models inside the band with confidences that are inconsistent with the base at all."""
    zoo = found.zoo
    inconsistency = zoo.measured("error_inconsistency")[zoo.base]
    return [i for i in zoo.others if zoo.scored[i] and zoo.in_band[i] and inconsistency[i] > 0]


def representatives(found: Measured, most: int, able: Sequence[int]) -> list[int]:
    """Those of some models that stand for their category: nearest its mean inconsistency, by that mean."""
    zoo, chosen = found.zoo, []
    inconsistency = zoo.measured("error_inconsistency")[zoo.base]
    for name in zoo.order:
        members = [i for i in able if zoo.category[i] == name]
        if members:
            mean = inconsistency[members].mean()
            chosen.append((mean, min(members, key=lambda i: (abs(inconsistency[i] - mean), i))))
    if len(chosen) < most:  # few categories: the least and the most different models of the band beside them
        rest = [i for i in able if i not in {m for _, m in chosen}]
        rest.sort(key=lambda i: (inconsistency[i], i))
        spread = (
            [rest[k] for k in dict.fromkeys(np.linspace(0, len(rest) - 1, most).astype(int))] if rest else []
        )
        chosen += [(inconsistency[i], i) for i in spread[: most - len(chosen)]]
    ordered = [model for _, model in sorted(chosen)]
    if len(ordered) <= most:
        return ordered
    return [ordered[k] for k in np.linspace(0, len(ordered) - 1, most).round().astype(int)]


def theta_table(found: Measured, chosen: list[int]) -> pa.Table:
    """One row an example and chosen model where one of these pairs is inconsistent: outcome, class, theta."""
    zoo, base = found.zoo, found.zoo.correct[found.zoo.base]
    some = np.zeros(len(zoo.rows), np.bool_)
    for model in chosen:
        some |= base != zoo.correct[model]
    rows, classes = np.flatnonzero(some), zoo.store.truth.take(zoo.rows).first
    ids = zoo.store.example_ids
    names = zoo.store.classes
    parts = []
    for model in chosen:
        other, theta = zoo.correct[model], found.theta(model)
        assert theta is not None, "chosen models have confidences"
        outcome = np.where(base, np.where(other, 0, 1), np.where(other, 2, 3))[rows]
        parts.append(
            pa.table(
                {
                    "model": [zoo.model_ids[model]] * len(rows),
                    "category": [zoo.category[model]] * len(rows),
                    "example_id": [ids[i] for i in zoo.rows[rows].tolist()],
                    "class_id": classes[rows],
                    "class": [names[c] for c in classes[rows].tolist()],
                    "outcome": [OUTCOMES[o] for o in outcome.tolist()],
                    "theta": theta[rows],
                }
            )
        )
    return pa.concat_tables(parts)


def histogram_table(theta: pa.Table) -> pa.Table:
    """Counts of theta by model and outcome in equal bins of 0..pi/2."""
    models, outcomes = (np.array(theta[name].to_pylist(), object) for name in ("model", "outcome"))
    many = len(models) / len({*models}) >= MANY
    edges = np.linspace(0, np.pi / 2, (FINE_BINS if many else BINS) + 1)
    values, rows = numbers(theta, "theta"), []
    category = dict(zip(theta["model"].to_pylist(), theta["category"].to_pylist(), strict=True))
    for model in dict.fromkeys(models.tolist()):
        for outcome in OUTCOMES:
            counts = np.histogram(values[(models == model) & (outcomes == outcome)], edges)[0]
            rows += [
                {
                    "model": model,
                    "category": category[model],
                    "outcome": outcome,
                    "low": low,
                    "high": high,
                    "count": int(count),
                }
                for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
            ]
    return pa.Table.from_pylist(rows)


def profile_table(found: Measured, theta: pa.Table, group: str | None) -> pa.Table:
    """Mean theta of the inconsistent examples by group of classes, with an interval: 95 % for all groups."""
    _, title, of_class = groups_of_classes(found.zoo.store, group)
    tail = 0.025 / len(title)
    classes, models = numbers(theta, "class_id").astype(int), np.array(theta["model"].to_pylist(), object)
    one_right = np.isin(np.array(theta["outcome"].to_pylist(), object), OUTCOMES[1:3])
    values, rows = numbers(theta, "theta"), []
    for model in dict.fromkeys(models.tolist()):
        for place, name in enumerate(title):
            here = values[(models == model) & one_right & (of_class[classes] == place)]
            reach = np.nan
            if len(here) >= LEAST_OF_GROUP:
                reach = t_quantile(tail, len(here) - 1) * here.std(ddof=1) / np.sqrt(len(here))
            mean = here.mean() if len(here) else np.nan
            bounds = {"theta": mean, "low": max(mean - reach, 0.0), "high": min(mean + reach, np.pi / 2)}
            rows.append(
                {
                    "model": model,
                    "group": name,
                    "n": len(here),
                }
                | {key: None if v != v else float(v) for key, v in bounds.items()}
            )
    kinds = {"model": pa.string(), "group": pa.string()}
    kinds |= dict.fromkeys(("n",), pa.int64())
    schema = pa.schema([(key, kinds.get(key, pa.float64())) for key in rows[0]])
    return pa.Table.from_pylist(rows, schema)


def groups_of_classes(store: Store, column: str | None) -> tuple[str, list[str], NDArray[np.intp]]:
    """What groups of classes are called, their names, and the group of each class, (C,).

    Recorded groups where a column has them; else the classes themselves, or runs of consecutive ones.
    """
    groups = class_groups(store, column)
    if groups is not None:
        names = list(dict.fromkeys(map(str, groups[1])))
        return groups[0], names, np.array([names.index(str(value)) for value in groups[1]], np.intp)
    if store.n_classes <= MOST_BINS:
        return "class", store.classes, np.arange(store.n_classes)
    of = np.arange(store.n_classes) * MOST_BINS // store.n_classes
    ends = [np.flatnonzero(of == g)[[0, -1]] for g in range(MOST_BINS)]
    return "class range", [f"{low}-{high}" for low, high in ends], of


def curves_table(found: Measured) -> pa.Table:
    """Greedy curves with the category of each start and member."""
    assert found.curves is not None, "curves are of models with confidences"
    of = dict(zip(found.zoo.model_ids, found.zoo.category, strict=True))
    curves = found.curves
    for name, source in (("start_category", "start"), ("member_category", "member")):
        column = pa.array([of[m] for m in curves[source].to_pylist()])
        curves = curves.add_column(curves.column_names.index(source) + 1, name, column)
    return curves


def defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without NaN."""
    return values[~np.isnan(values)]


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Column as float64, NaN for null."""
    return np.array([np.nan if v is None else v for v in table[name].to_pylist()], np.float64)


def _nullable(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)
