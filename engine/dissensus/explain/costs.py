"""What members cost together, and the strongest single model of at most that cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dissensus.errors import ArgumentError
from dissensus.store.catalog import Store
from dissensus.store.models import again
from dissensus.store.splits import Rows

from .choice import strongest

USUAL = ("gmacs", "params")  # recorded at ingest, the nearest to time first


@dataclass(frozen=True)
class Costs:
    """Costs of an ensemble; nothing where none is recorded.

    Attributes
    ----------
    name : str or None
        What is counted.
    values : mapping of str to float
        Of every model that has it.
    members : float or None
        Sum over distinct members: each is run once, whatever its weight.
    single : float or None
        Of the best single model, where recorded.
    equal : str or None
        The strongest model, on the selection split, of at most `members`.
    """

    name: str | None
    values: Mapping[str, float]
    members: float | None
    single: float | None
    equal: str | None

    def to_dict(self) -> dict[str, Any]:
        """Record without the costs of all models; empty where none is recorded."""
        if self.name is None:
            return {}
        return {"name": self.name, "members": self.members, "single": self.single, "equal": self.equal}


@again
def costs_of(
    store: Store, members: Sequence[str], single: str, pool: Sequence[str], select: Rows, cost: str | None
) -> Costs:
    """Find what is recorded.

    Parameters
    ----------
    store : Store
        Under the label set that decides which model is strong.
    members, pool : sequence of str
        Of the ensemble; models that it can be compared with.
    single : str
        Best single model.
    select : (n,) intp
        Rows on which models are compared.
    cost : str or None
        What is asked for; the first of the usual ones that all members have for None.

    Raises
    ------
    ArgumentError
        It is asked for and not recorded for every member.
    """
    recorded = {m: store.model(m).metadata for m in {*members, *pool, single}}
    for name in USUAL if cost is None else (cost,):
        values = {m: float(facts[name]) for m, facts in recorded.items() if _is_cost(facts.get(name))}
        lacking = [m for m in members if m not in values]
        if not lacking:
            together = sum(values[m] for m in members)
            able = [m for m in pool if m in values and values[m] <= together]
            equal = strongest(store, able, select) if able else None
            return Costs(name, values, together, values.get(single), equal)
        if cost is not None:
            raise ArgumentError(
                f"cost={cost!r} is not recorded, as a positive number, for {', '.join(lacking[:5])} "
                f"({len(lacking)} of {len(members)} members): give it with the models' metadata, or leave "
                "cost out"
            )
    return Costs(None, {}, None, None, None)


def _is_cost(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
