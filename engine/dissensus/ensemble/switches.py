"""How an ensemble is searched for: Caruana's switches and more, checked once and frozen."""

from __future__ import annotations

import difflib
import math
import numbers
import operator
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypedDict

from dissensus.errors import ArgumentError

WEIGHTS = ("counts", "optimal")


class Switches(TypedDict, total=False):
    """Keywords of `Search`, for callers that pass them on."""

    include: Sequence[str] | None
    exclude: Sequence[str] | None
    max_members: int | None
    cost: str | None
    max_cost: float | None
    sorted_start: int
    beam: int
    patience: int | None
    best_prefix: bool | None
    prune: bool
    bags: int | None
    bag_fraction: float
    folds: int | None
    weights: str
    seed: int


@dataclass(frozen=True)
class Search:
    """Options of a search beyond plain greedy selection.

    Attributes
    ----------
    include : sequence of str
        Must-haves: they come first, and neither `prune` nor `best_prefix` takes them out again.
    exclude : sequence of str
        Models never to be used.
    max_members : int, optional
        Most distinct members.
    cost : str, optional
        Recorded number of each model by which the ensemble's cost is counted, as "gmacs" or "params";
        "seconds" (an example) comes from examples_per_s. The cost is the sum over distinct members.
    max_cost : float, optional
        Most that the ensemble may cost.
    sorted_start : int
        So many best single models come first (Caruana's sorted initialisation).
    beam : int
        Ensembles kept at each step; 1 is greedy selection.
    patience : int, optional
        Stop after so many steps in a row without a new best; the ensemble is the best of the trajectory.
    best_prefix : bool, optional
        End with the best of the trajectory, the shortest on ties. By default with votes only.
    prune : bool
        In the end drop members, one after another, as long as the metric on the selection split is no worse.
    bags : int, optional
        Select from so many random subsets of the candidates, and add their members up.
    bag_fraction : float
        Share of the candidates in each bag, above 0, at most 1.
    folds : int, optional
        Cross-fit: report on each fold what was calibrated and selected on the others.
    weights : {"counts", "optimal"}
        How often a member was chosen, or the weights with the least loss, with a certificate.
    seed : int
        Seed of bags and folds.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_members: int | None = None
    cost: str | None = None
    max_cost: float | None = None
    sorted_start: int = 0
    beam: int = 1
    patience: int | None = None
    best_prefix: bool | None = None
    prune: bool = False
    bags: int | None = None
    bag_fraction: float = 0.5
    folds: int | None = None
    weights: str = "counts"
    seed: int = 0

    @classmethod
    def of(cls, switches: Mapping[str, Any]) -> Search:
        """Check each option by itself and against the others.

        Raises
        ------
        TypeError
            There is no such option.
        ArgumentError
        """
        known = [field.name for field in fields(cls)]
        for name in switches:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; options are {', '.join(known)}"
                raise TypeError(f"unexpected keyword argument {name!r}{hint}")
        given = {name: _checked(name, value) for name, value in switches.items()}
        search = cls(**given)
        search._refuse_contradictions()
        return search

    @property
    def asked(self) -> dict[str, Any]:
        """Options that differ from their defaults."""
        values = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default is not MISSING}

    def _refuse_contradictions(self) -> None:
        both = sorted({*self.include} & {*self.exclude})
        limits = [name for name in ("max_members", "max_cost") if getattr(self, name) is not None]
        for wrong, message in (
            (both, f"include and exclude both name {', '.join(both)}"),
            (self.max_cost is not None and self.cost is None, "max_cost needs cost: name a recorded number"),
            (
                self.bags and limits,
                f"bags contradict {' and '.join(limits)}: members of all bags add up; leave one out",
            ),
            (
                self.best_prefix is False and self.patience,
                "patience ends with the best of the trajectory: best_prefix=False contradicts it",
            ),
            (
                self.include and self.weights == "optimal",
                "weights='optimal' may give a must-have no weight: leave out include, or use start",
            ),
        ):
            if wrong:
                raise ArgumentError(message)


_WHOLE = {"max_members": 1, "sorted_start": 0, "beam": 1, "patience": 1, "bags": 1, "folds": 2, "seed": 0}
_OPTIONAL = {"max_members", "patience", "bags", "folds", "cost", "max_cost", "best_prefix"}


def _checked(name: str, value: Any) -> Any:
    """Value of one option, in one form."""
    if name in ("include", "exclude"):
        return _names(name, value)
    if value is None and name in _OPTIONAL:
        return None
    if name in _WHOLE:
        return whole(name, value, _WHOLE[name])
    if name in ("max_cost", "bag_fraction"):
        return _positive(name, value, 1.0 if name == "bag_fraction" else math.inf)
    if name in ("prune", "best_prefix") and not isinstance(value, bool):
        raise ArgumentError(f"{name} must be True or False, got {value!r}")
    if name == "cost" and not (isinstance(value, str) and value):
        raise ArgumentError(f"cost must be the name of a recorded number, as 'gmacs'; got {value!r}")
    if name == "weights" and value not in WEIGHTS:
        raise ArgumentError(f"weights must be {' or '.join(map(repr, WEIGHTS))}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool | None:
    """Check a switch; None where it was not given."""
    if value is not None and not isinstance(value, bool):
        raise ArgumentError(f"{name} must be True, False or None, got {value!r}")
    return value


def whole(name: str, value: Any, least: int, what: str = "") -> int:
    """Check a whole number, at least `least`."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ArgumentError(f"{name} must be a whole number{what}, at least {least}; got {value!r}")
    return number


def _positive(name: str, value: Any, most: float) -> float:
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not 0 < value <= most or math.isinf(value):
        bound = f", at most {most:g}" if most < math.inf else ""
        raise ArgumentError(f"{name} must be a number above 0{bound}; got {value!r}")
    return float(value)


def _names(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ArgumentError(f"{name} must be a list of model ids, got {value!r}; pass [{value!r}]")
    names = tuple(value or ())
    twice = sorted({m for m in names if names.count(m) > 1}, key=str)
    if twice:
        raise ArgumentError(f"{name} names {', '.join(map(str, twice))} more than once")
    return names
