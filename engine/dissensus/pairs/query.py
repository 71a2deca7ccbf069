"""The public query: measures of all pairs of a store's models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.store.models import again

from .asked import Asked, Undefined
from .counts import Answers
from .labels import label_counts
from .measures import STATISTICS
from .result import Pairs
from .sums import score_sums

if TYPE_CHECKING:
    from dissensus.store.catalog import Store


def pairwise(
    store: Store,
    measures: str | Sequence[str],
    *,
    models: Sequence[str] | None = None,
    split: str | None = None,
    mask: ArrayLike | None = None,
    where: str | None = None,
    undefined: Undefined = "nan",
    labels: str | None = None,
    ci: Literal["delta", "bootstrap"] | None = None,
    level: float | None = None,
    draws: int | None = None,
    seed: int | None = None,
) -> Pairs:
    """Compute measures of how alike the mistakes of each pair of models are.

    Only what the measures asked for need is read and summed: predicted classes, and for measures of
    probabilities the logits, once. Probabilities are the softmax at temperature 1 of what is stored.

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
        Only these examples, in the store's order; together with `split` and `where`, those of all.
    where : str, optional
        Only examples for which this expression over their columns holds; see `Store.where`.
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
        A measure, model, split, column, value or label set that is not there; the message has the nearest.
    ArgumentError
        Fewer than two models, a mask of another length or dtype, no expression, or no example left; a measure
        of the right class's probability where examples have several right classes; sums that do not fit the
        memory; an argument of intervals out of its range or without `ci`.
    LabelsOnly
        A measure of probabilities where some models have hard labels only.

    Examples
    --------
    >>> pairs = ds.pairwise(store, ["error_inconsistency", "error_consistency"])  # doctest: +SKIP
    >>> pairs.top(5, by="error_inconsistency")  # doctest: +SKIP
    """
    asked = Asked.checked(
        store,
        measures,
        models=models,
        split=split,
        mask=mask,
        where=where,
        undefined=undefined,
        labels=labels,
        ci=ci,
        level=level,
        draws=draws,
        seed=seed,
    )
    return asked.pairs(*_gathered(asked.store, asked.model_ids, asked.examples, asked.statistics))


@again
def _gathered(
    store: Store, model_ids: Sequence[str], examples: NDArray[np.bool_] | None, wanted: set[str]
) -> tuple[Answers, Mapping[str, NDArray[Any]]]:
    """Right answers and what is wanted beyond: of one version of each model, were it replaced meanwhile."""
    models = [store.model(model_id) for model_id in model_ids]
    top1 = store.top1_of(models)
    correct = store.truth.correct(top1)
    more: dict[str, NDArray[Any]] = {**label_counts(top1, correct, store.n_classes, examples, wanted)}
    if any(STATISTICS[statistic] == "probabilities" for statistic in wanted):
        rows = np.arange(store.n_examples) if examples is None else np.flatnonzero(examples)
        more |= score_sums(store, models, rows, wanted)
    return Answers.of(correct, examples), more
