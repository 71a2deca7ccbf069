"""The public query: measures of all pairs of a store's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, UnknownName

from .counts import Answers
from .intervals import Interval
from .measures import MEASURES
from .result import Pairs

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

Undefined = Literal["nan", "identical"]


def pairwise(
    store: Store,
    measures: str | Sequence[str],
    *,
    models: Sequence[str] | None = None,
    split: str | None = None,
    mask: ArrayLike | None = None,
    undefined: Undefined = "nan",
    labels: str | None = None,
    ci: Literal["delta", "bootstrap"] | None = None,
    level: float | None = None,
    draws: int | None = None,
    seed: int | None = None,
) -> Pairs:
    """Compute measures of how alike the mistakes of each pair of models are.

    Parameters
    ----------
    store : Store
        The predictions.
    measures : str or sequence of str
        Names from `dissensus.pairs.measures.MEASURES`.
    models : sequence of str, optional
        Model ids, in the order wanted; all models by default.
    split : str, optional
        Only examples of this split; see `Store.rows`.
    mask : (N,) bool, optional
        Only these examples, in the store's order; together with `split`, those of both.
    undefined : {"nan", "identical"}
        NaN where a measure is undefined, or 1.0 for agreements of two models that are both right everywhere.
    labels : str, optional
        Label set that decides what is right; by default the one that `store` goes by. Examples that it does
        not count are left out.
    ci : {"delta", "bootstrap"}, optional
        Give each measure an interval, `pairs.low[name]` and `pairs.high[name]`: in closed form, or from
        resampled counts. Examples are taken for a sample of those that could be asked; each interval covers
        its own pair.
    level : float, optional
        Coverage of intervals; 0.95 by default.
    draws, seed : int, optional
        Resamples of each pair and where their random numbers start; 1,000 and 0 by default.

    Returns
    -------
    Pairs

    Raises
    ------
    UnknownName
        A measure, model, split or label set that is not there; the message has the nearest names.
    ArgumentError
        Fewer than two models, a mask of another length or dtype, no example left, or an argument of intervals
        out of its range or without `ci`.

    Examples
    --------
    >>> pairs = ds.pairwise(store, ["error_inconsistency", "error_consistency"])  # doctest: +SKIP
    >>> pairs.top(5, by="error_inconsistency")  # doctest: +SKIP
    """
    names = _check_measures(measures)
    if undefined not in get_args(Undefined):
        raise ArgumentError(f"undefined must be 'nan' or 'identical'; got {undefined!r}")
    interval = Interval.checked(names, ci, level, draws, seed)
    store = store.under(labels)
    model_ids = _check_models(store, models)
    examples = _check_examples(store, split, mask)
    answers = Answers.of(store.correct(model_ids), examples)
    counts = answers.counts()
    values = {name: MEASURES[name].finish(counts, undefined) for name in names}
    return Pairs(model_ids, counts, values, interval=interval, answers=answers)


def _check_measures(measures: str | Sequence[str]) -> list[str]:
    names = [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise ArgumentError(f"measures must name at least one of {', '.join(MEASURES)}; got none")
    for name in names:
        if name not in MEASURES:
            raise UnknownName.of("measure", name, MEASURES)
        if names.count(name) > 1:
            raise ArgumentError(f"measures names {name!r} {names.count(name)} times; name each measure once")
    return names


def _check_models(store: Store, models: Sequence[str] | None) -> list[str]:
    model_ids = store.resolve(models)
    if len(model_ids) < 2:
        where = f"the store {store.path} holds" if models is None else "models names"
        raise ArgumentError(f"pairs need at least 2 models; {where} {len(model_ids)}: {model_ids}")
    return model_ids


def _check_examples(store: Store, split: str | None, mask: ArrayLike | None) -> NDArray[np.bool_] | None:
    """Rows asked for that the truth counts, (N,) bool; None for all."""
    chosen = np.zeros(store.n_examples, np.bool_)
    chosen[store.rows(split)] = True
    if mask is not None:
        chosen &= _check_mask(mask, store.n_examples)
    if not chosen.any():
        raise ArgumentError(_none_left(store, split, mask is not None))
    return None if chosen.all() else chosen


def _check_mask(mask: ArrayLike, n_examples: int) -> NDArray[np.bool_]:
    rows = np.asarray(mask)
    if rows.dtype != np.bool_ or rows.shape != (n_examples,):
        raise ArgumentError(
            f"mask must be bool of shape ({n_examples},), one for each example of the store; "
            f"got {rows.dtype} {rows.shape}"
        )
    return rows


def _none_left(store: Store, split: str | None, masked: bool) -> str:
    """What leaves no example."""
    truth, within = store.truth, "" if split is None else f" within split {split!r}"
    if not masked:
        return f"labels {truth.name!r} count no example{within}; choose other labels or another split"
    counted = "" if truth.is_single else f" that labels {truth.name!r} count"
    return f"mask must choose at least one example{within}{counted}; it chooses none"
