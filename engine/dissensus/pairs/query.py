"""The public query: measures of all pairs of a store's models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError
from dissensus.run.devices import Backend, backend
from dissensus.store.models import again

from .asked import Asked, Undefined, check_exact
from .counts import Answers, PairCounts
from .ensembles import ENSEMBLES, Calibration, ensemble_counts, temperatures
from .labels import label_counts
from .result import Pairs
from .summed import SCORED
from .sums import score_sums

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel


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
    calibrate: bool | str = False,
    ci: Literal["delta", "bootstrap"] | None = None,
    level: float | None = None,
    draws: int | None = None,
    seed: int | None = None,
    scheduler: Any = None,
    device: str | None = None,
    progress: bool = False,
) -> Pairs:
    """Compute measures of how alike the mistakes of each pair of models are.

    Only what the measures asked for need is read and summed: predicted classes, and for measures of
    probabilities the logits: once for sums of products, once for ensembles. Probabilities are the softmax at
    temperature 1 of what is stored, but for ensembles with `calibrate`.

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
    calibrate : bool or str
        Fit a temperature of each model by NLL on a split before `pair_accuracy`, `improvement` and
        `conversion_rate` average probabilities, as the paper does: on "fit" for True, or on the split named.
        By default nothing is fitted: as all other measures of probabilities these then are of temperature 1,
        and use no labels twice. Where examples counted took part in the fit, `Pairs.notes` says how many;
        pass ``split="report"`` to count none of them.
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
        to the last bit; sums of probabilities are where the workers' processors are of this one's kind, else
        within the rounding of `dissensus.pairs.sums`. Workers open the store themselves, under the same path.
        By default numba's threads of this process count. Temperatures (`calibrate`) are fitted here, and
        questions that resample examples or answers (`compare`, `in_top`, `null`) read them here.
    device : str, optional
        Count by torch on this device, "cpu", "cuda" or "cuda:1": the result is the same to the last bit. Only
        measures of counts and labels. By default numba's threads count.
    progress : bool
        Show on stderr how far ensembles are, which take longest.

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
        memory; an argument of intervals out of its range or without `ci`; a device that is not there.
    LabelsOnly
        A measure of probabilities where some models have hard labels only.
    ClusterError
        The cluster does not answer, or its workers cannot open this store.
    MissingDependency
        `scheduler` without the extra `cluster`, `device` without torch.

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
        calibrate=calibrate,
        ci=ci,
        level=level,
        draws=draws,
        seed=seed,
    )
    question = asked.store, asked.model_ids, asked.examples, asked.statistics
    if device is not None:
        check_exact("device", asked.measures)
    if scheduler is None:
        return asked.pairs(*_gathered(*question, backend(device), asked.calibration, progress))
    if device is not None:
        raise ArgumentError("the workers of a scheduler count by numba: pass scheduler or device, not both")
    return asked.pairs(*_scheduled(*question, asked.calibration, scheduler))


@again
def _gathered(
    store: Store,
    model_ids: Sequence[str],
    examples: NDArray[np.bool_] | None,
    wanted: set[str],
    counting: Backend,
    calibration: Calibration | None,
    progress: bool,
) -> tuple[PairCounts, Answers, Mapping[str, NDArray[Any]]]:
    """Counts, right answers, and what is wanted beyond; of one version of each model, were it replaced."""
    models = [store.model(model_id) for model_id in model_ids]
    top1 = store.top1_of(models)
    correct = store.truth.correct(top1)
    found = label_counts(top1, correct, store.n_classes, examples, wanted, counting)
    more: dict[str, NDArray[Any]] = {**found}
    rows = np.arange(store.n_examples) if examples is None else np.flatnonzero(examples)
    if not {*SCORED}.isdisjoint(wanted):
        more |= score_sums(store, models, rows, wanted)
    more |= ensemble_counts(store, models, rows, correct, wanted, calibration, progress)
    answers = Answers.of(correct, examples)
    return answers.counts(counting), answers, more


def _scheduled(
    store: Store,
    model_ids: Sequence[str],
    examples: NDArray[np.bool_] | None,
    wanted: set[str],
    calibration: Calibration | None,
    scheduler: Any,
) -> tuple[PairCounts, Callable[[], Answers], Mapping[str, NDArray[Any]]]:
    """`_gathered`, counted on a cluster; right answers are read, of the same models, when asked for."""
    from dissensus.run.scheduler import cluster

    from .scheduled import scheduled_counts
    from .score_tasks import scheduled_scores

    models = [store.model(model_id) for model_id in model_ids]
    more: dict[str, NDArray[Any]] = {}
    with cluster(scheduler) as runner:
        counts, labels = scheduled_counts(store, models, examples, wanted, runner)
        if not {*SCORED, *ENSEMBLES}.isdisjoint(wanted):
            fitted = {} if {*ENSEMBLES}.isdisjoint(wanted) else temperatures(store, models, calibration)
            rows = np.arange(store.n_examples) if examples is None else np.flatnonzero(examples)
            more = scheduled_scores(store, models, rows, wanted, fitted, runner)
    return counts, partial(_answers, store, models, examples), labels | more


def _answers(store: Store, models: Sequence[StoredModel], examples: NDArray[np.bool_] | None) -> Answers:
    return Answers.of(store.truth.correct(store.top1_of(models)), examples)
