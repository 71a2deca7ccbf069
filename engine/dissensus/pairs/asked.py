"""A question about pairs, checked once at the edge: which measures, of which models, on which examples."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError, LabelsOnly, UnknownName

from .counts import Answers, PairCounts
from .ensembles import Calibration
from .intervals import Interval
from .measures import MEASURES
from .result import Pairs
from .summed import TRUTH

if TYPE_CHECKING:
    from dissensus.store.catalog import Store

Undefined = Literal["nan", "identical"]
_KAPPA = "kappa is error_consistency (or label_kappa, of predicted classes)"
CALLED = {  # names that others give to measures, and traps: what is meant has two names here
    "kappa": _KAPPA,
    "cohen_kappa": _KAPPA,
    "disagreement": "of right and wrong it is error_inconsistency, of predicted classes label_disagreement",
    "diversity": "diversity of predictions is error_inconsistency, as of right and wrong answers",
    "churn": "churn is label_disagreement; what a new model breaks is negative_flip_rate",
    "error_correlation": "the correlation of errors is phi",
    "correlation": "the correlation of errors is phi, of outputs logit_correlation",
    "jaccard": "the Jaccard index of errors is error_iou",
    "agreement": "of predicted classes it is 1 - label_disagreement, of probabilities expected_agreement",
}


@dataclass(frozen=True, eq=False)
class Asked:
    """What `pairwise` was asked, checked.

    Attributes
    ----------
    store : Store
        Under the label set that decides.
    measures, model_ids : list of str
        In the order asked for.
    examples : (N,) bool or None
        Examples to count; all for None.
    undefined : {"nan", "identical"}
        As given.
    interval : Interval or None
        The intervals to give.
    notes : dict
        Split and expression, where given, and where temperatures come from.
    calibration : Calibration or None
        What the members of ensembles are calibrated on.
    """

    store: Store
    measures: list[str]
    model_ids: list[str]
    examples: NDArray[np.bool_] | None
    undefined: Undefined
    interval: Interval | None
    notes: dict[str, str | float]
    calibration: Calibration | None = None

    @classmethod
    def checked(
        cls,
        store: Store,
        measures: str | Sequence[str],
        *,
        models: Sequence[str] | None,
        split: str | None,
        mask: ArrayLike | None,
        where: str | None,
        undefined: Undefined,
        labels: str | None,
        calibrate: bool | str,
        **interval: Any,
    ) -> Asked:
        """Check arguments of `pairwise`; see there."""
        names = checked_measures(measures)
        check_undefined(undefined)
        bounds = Interval.checked(names, **interval)
        store = store.under(labels)
        model_ids = checked_models(store, models)
        examples = checked_examples(store, split, mask, where)
        _check_truth(store, examples, names)
        _check_scores(store, model_ids, names)
        given = (("split", split), ("where", where))
        notes: dict[str, str | float] = {name: text for name, text in given if text is not None}
        calibration = Calibration.checked(store, calibrate, _statistics(names))
        notes |= {} if calibration is None else calibration.notes(examples)
        return cls(store, names, model_ids, examples, undefined, bounds, notes, calibration)

    @property
    def statistics(self) -> set[str]:
        """What must be summed for the measures beyond right and wrong."""
        return _statistics(self.measures)

    def pairs(
        self,
        counts: PairCounts,
        answers: Answers | Callable[[], Answers],
        more: Mapping[str, NDArray[Any]],
    ) -> Pairs:
        """Finish the measures of what was counted and summed."""
        values = {name: MEASURES[name].finish(counts, self.undefined, more) for name in self.measures}
        return Pairs(
            self.model_ids, counts, values, interval=self.interval, answers=answers, notes=self.notes
        )


def _statistics(measures: Sequence[str]) -> set[str]:
    return {statistic for name in measures for statistic in MEASURES[name].statistics}


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


def check_exact(argument: str, measures: Sequence[str]) -> None:
    """Refuse measures of probabilities elsewhere: their sums are rounded, and would depend on where."""
    wanting = [name for name in measures if MEASURES[name].needs == "probabilities"]
    if wanting:
        raise ArgumentError(
            f"{argument} counts measures of answers and labels; {', '.join(wanting)} need "
            f"probabilities, which are read and summed on this machine: ask for them without {argument}"
        )


def _called(name: str) -> str:
    """What is here called otherwise than by this name, or by the one that was mistyped."""
    near = difflib.get_close_matches(name.lower(), CALLED, n=1, cutoff=0.8)
    return CALLED[near[0]] if near else ""


def checked_measures(measures: str | Sequence[str]) -> list[str]:
    """Names of measures that there are, each once."""
    names = [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise ArgumentError(f"measures must name at least one of {', '.join(MEASURES)}; got none")
    for name in names:
        if name not in MEASURES:
            raise UnknownName.of("measure", name, MEASURES, _called(name))
        if names.count(name) > 1:
            raise ArgumentError(f"measures names {name!r} {names.count(name)} times; name each measure once")
    return names


def check_undefined(undefined: str) -> None:
    """Refuse what is no way to fill in undefined values."""
    if undefined not in get_args(Undefined):
        raise ArgumentError(f"undefined must be 'nan' or 'identical'; got {undefined!r}")


def checked_models(store: Store, models: Sequence[str] | None) -> list[str]:
    """Models of a store to compare: at least two."""
    model_ids = store.resolve(models)
    if len(model_ids) < 2:
        where = f"the store {store.path} holds" if models is None else "models names"
        raise ArgumentError(f"pairs need at least 2 models; {where} {len(model_ids)}: {model_ids}")
    return model_ids


def checked_examples(
    store: Store, split: str | None, mask: ArrayLike | None, where: str | None
) -> NDArray[np.bool_] | None:
    """Rows asked for that the truth counts, (N,) bool; None for all."""
    chosen = np.zeros(store.n_examples, np.bool_)
    chosen[store.rows(split, where)] = True
    if mask is not None:
        chosen &= checked_mask(mask, store.n_examples)
    if not chosen.any():
        raise ArgumentError(_none_left(store, split, mask is not None))
    return None if chosen.all() else chosen


def checked_mask(mask: ArrayLike, n_examples: int) -> NDArray[np.bool_]:
    """Refuse a mask that is not one bool for each example."""
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
