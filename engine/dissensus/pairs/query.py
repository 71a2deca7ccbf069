"""The public query: measures of all pairs of a store's models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, LabelsOnly, UnknownName
from dissensus.store.models import again

from .counts import Answers, PairCounts
from .intervals import Interval
from .labels import label_counts
from .measures import MEASURES, STATISTICS
from .result import Pairs
from .sums import TRUTH, score_sums

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel

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
    scheduler: Any = None,
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
    scheduler : distributed.Client or str, optional
        Count on this Dask cluster, a client or an address such as "tcp://host:8786": the result is the same
        to the last bit. Workers open the store themselves, under the same path. By default numba's threads
        of this process count. Only measures of counts and labels; questions that resample examples or
        answers (`compare`, `in_top`, `null`) read them here.

    Returns
    -------
    Pairs

    Raises
    ------
    UnknownName
        A measure, model, split or label set that is not there; the message has the nearest names.
    ArgumentError
        Fewer than two models, a mask of another length or dtype, or no example left; a measure of the right
        class's probability where examples have several right classes; sums that do not fit the memory;
        an argument of intervals out of its range or without `ci`.
    LabelsOnly
        A measure of probabilities where some models have hard labels only.
    ClusterError
        The cluster does not answer, or its workers cannot open this store.
    MissingDependency
        `scheduler` without the extra `cluster`.

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
    wanted = {statistic for name in names for statistic in MEASURES[name].statistics}
    _check_truth(store, examples, names)
    _check_scores(store, model_ids, names)
    counts, answers, more = (
        _gathered(store, model_ids, examples, wanted)
        if scheduler is None
        else _scheduled(store, model_ids, examples, wanted, _check_scheduled(names, scheduler))
    )
    values = {name: MEASURES[name].finish(counts, undefined, more) for name in names}
    return Pairs(model_ids, counts, values, interval=interval, answers=answers)


@again
def _gathered(
    store: Store, model_ids: Sequence[str], examples: NDArray[np.bool_] | None, wanted: set[str]
) -> tuple[PairCounts, Answers, Mapping[str, NDArray[Any]]]:
    """Counts, right answers, and what is wanted beyond; of one version of each model, were it replaced."""
    models = [store.model(model_id) for model_id in model_ids]
    top1 = store.top1_of(models)
    correct = store.truth.correct(top1)
    more: dict[str, NDArray[Any]] = {**label_counts(top1, correct, store.n_classes, examples, wanted)}
    if any(STATISTICS[statistic] == "probabilities" for statistic in wanted):
        rows = np.arange(store.n_examples) if examples is None else np.flatnonzero(examples)
        more |= score_sums(store, models, rows, wanted)
    answers = Answers.of(correct, examples)
    return answers.counts(), answers, more


@again
def _scheduled(
    store: Store,
    model_ids: Sequence[str],
    examples: NDArray[np.bool_] | None,
    wanted: set[str],
    scheduler: Any,
) -> tuple[PairCounts, Callable[[], Answers], Mapping[str, NDArray[Any]]]:
    """`_gathered`, counted on a cluster; right answers are read, of the same models, when asked for."""
    from dissensus.run.scheduler import cluster

    from .scheduled import scheduled_counts

    models = [store.model(model_id) for model_id in model_ids]
    with cluster(scheduler) as runner:
        counts, more = scheduled_counts(store, models, examples, wanted, runner)
    return counts, partial(_answers, store, models, examples), more


def _answers(store: Store, models: Sequence[StoredModel], examples: NDArray[np.bool_] | None) -> Answers:
    return Answers.of(store.truth.correct(store.top1_of(models)), examples)


def _check_scheduled(measures: Sequence[str], scheduler: Any) -> Any:
    """Refuse measures of probabilities on a cluster: their sums are rounded, and would depend on its cuts."""
    wanting = [name for name in measures if MEASURES[name].needs == "probabilities"]
    if wanting:
        raise ArgumentError(
            f"scheduler counts measures of answers and labels; {', '.join(wanting)} are sums of products of "
            "probabilities, computed on this machine: ask for them without scheduler"
        )
    return scheduler


def _check_scores(store: Store, model_ids: Sequence[str], measures: Sequence[str]) -> None:
    """Refuse measures of probabilities where models have none, before anything is computed."""
    wanting = [name for name in measures if MEASURES[name].needs == "probabilities"]
    hard = [m for m in model_ids if wanting and store.model(m).kind == "labels"]
    if hard:
        named = ", ".join(hard[:5]) + (f", … ({len(hard)} in all)" if len(hard) > 5 else "")
        instead = ", ".join(name for name, one in MEASURES.items() if one.needs == "labels")
        raise LabelsOnly(
            f"logits or probabilities are needed for {', '.join(wanting)}; models with hard labels only: "
            f"{named}. Leave them out (models=), or ask for measures of labels: {instead}"
        )


def _check_truth(store: Store, examples: NDArray[np.bool_] | None, measures: Sequence[str]) -> None:
    """Refuse measures of the right class's probability where there are several right ones."""
    wanting = [name for name in measures if not {*TRUTH}.isdisjoint(MEASURES[name].statistics)]
    several = store.truth.sizes > 1
    count = int(several.sum() if examples is None else several[examples].sum())
    if wanting and count:
        raise ArgumentError(
            f"one right class an example is needed for {', '.join(wanting)}; labels {store.truth.name!r} "
            f"have several on {count:,} of the examples: pass mask=truth.sizes == 1 with truth = "
            f"store.under({store.truth.name!r}).truth"
        )


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
