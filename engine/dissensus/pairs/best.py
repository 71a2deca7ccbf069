"""The best partners of every model among all others: all pairs are computed, only the first few kept."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dissensus.errors import ArgumentError

from .correctness import Correctness, Source
from .kept import Best, PartnersOf
from .measures import MEASURES
from .scale import Job, whole_number
from .tile_tasks import reduced_on
from .tiles import Tiles

if TYPE_CHECKING:
    from dissensus.run.scheduler import Runner
    from dissensus.store.catalog import Store

KEY = b"dissensus"  # of the table's schema metadata


def partners(
    source: Source,
    by: str = "error_consistency",
    k: int = 20,
    *,
    ascending: bool | None = None,
    models: Sequence[str] | None = None,
    split: str | None = None,
    where: str | None = None,
    mask: ArrayLike | None = None,
    labels: str | None = None,
    undefined: Literal["nan", "identical"] = "nan",
    previous: pa.Table | None = None,
    threads: int | None = None,
    scheduler: Any = None,
    progress: bool = False,
) -> pa.Table:
    """List the k best partners of every model: the first of all others by a measure.

    Every pair is computed, on all processors, and none is kept that is not among the first: 61,565 models
    take some hundred MB, where their matrix would take 30 GB.

    Parameters
    ----------
    source : Store, (M, N) bool array, or Answers
        A store, or which examples each model gets right. An array is read some rows at a time, and may be a
        memory map.
    by : str
        A measure of right and wrong answers, with the model first and its partner second.
    k : int
        Partners of each model.
    ascending : bool, optional
        Smallest values first. By default the more different partners come first, whichever end that is.
    models : sequence of str, optional
        Models of the store, or names of the array's rows; by default all, or the numbers of the rows.
    split, where, labels : str, optional
        Split, expression over examples and label set of a store, as in `pairwise`.
    mask : (N,) bool, optional
        Only these examples.
    undefined : {"nan", "identical"}
        What a measure is where it is undefined, as in `pairwise`. NaN is nobody's partner.
    previous : pyarrow.Table, optional
        What this function gave before for some of the models: only pairs with the others are computed, and
        the result is the same. Where models were removed or have other answers now, all are computed anew,
        with a warning.
    threads : int, optional
        All processors by default.
    scheduler : distributed.Client or str, optional
        Compute on this Dask cluster, a client or an address such as "tcp://host:8786": the result is the same
        to the last bit. Workers open the store themselves, under the same path.
    progress : bool
        Print the plan of a large run, and its progress, on stderr.

    Returns
    -------
    pyarrow.Table
        model, rank (from 1), partner, accuracy, partner_accuracy and the measure; models in their order,
        each with up to k rows. Equal values come in the order of the models. The schema's metadata tells what
        it was made of, for `previous`.

    Raises
    ------
    ArgumentError
        Fewer than two models; a measure that needs more than right and wrong answers; a `previous` of another
        measure, k, order or other examples; not enough memory; `scheduler` with an array or with `threads`.
    UnknownName
    ClusterError
        The cluster does not answer, or its workers cannot open this store.
    MissingDependency
        `scheduler` without the extra `cluster`.

    Warns
    -----
    RuntimeWarning
        All is computed anew.

    Examples
    --------
    >>> correct = np.array([[True, False, True], [True, True, False], [True, False, False]])
    >>> table = ds.partners(correct, by="error_inconsistency", k=1)
    >>> table.select(["model", "partner", "error_inconsistency"]).to_pylist()[0]
    {'model': '0', 'partner': '1', 'error_inconsistency': 0.6666666666666666}
    """
    job = Job.checked(source, by, undefined, threads, progress, scheduler)
    k = whole_number(k, "k")
    ascending = job.measure.more_different == "low" if ascending is None else bool(ascending)
    settings = {"measure": by, "k": k, "ascending": ascending, "undefined": undefined}
    before = None if previous is None else _Record.of(previous)
    with job.runner() as runner:
        sample = job.sample(source, models, split, where, mask, labels)
        record = _Record(settings | {"examples": sample.examples}, sample.model_ids, sample.digests(), 0)
        old = _kept(before, record)
        # fresh models first, so that their rows with all others are the first bands; ranks keep the order
        order = np.argsort(np.isin(np.arange(len(sample.packed)), old), kind="stable")
        tiles = job.tiles(sample.reordered(order) if len(old) else sample, len(order) - len(old))
        best = Best.empty(len(order), min(k, len(order) - 1), 1.0 if ascending else -1.0, order)
        if len(old):
            assert previous is not None
            assert before is not None
            best.put(np.argsort(order), *_listed(previous, sample.model_ids, by))
            best.undefined = before.undefined
        if runner is None:
            best = _folded(job, tiles, best)
        else:
            best = _scheduled(job, runner, source.under(labels), tiles, best)
    return _table(sample, by, best.in_order(), record)


@dataclass(frozen=True)
class _Record:
    """What a table of partners was made of."""

    settings: dict[str, Any]
    models: list[str]
    digests: list[str]
    undefined: int

    @classmethod
    def of(cls, table: pa.Table) -> _Record:
        """Read the record of a table.

        Raises
        ------
        ArgumentError
        """
        try:
            told = json.loads((table.schema.metadata or {})[KEY])
            if told["rows"] != table.num_rows:
                raise ValueError("some rows were taken out")
            return cls(told["partners"], told["models"], told["digests"], told["undefined_pairs"])
        except (KeyError, ValueError, TypeError) as error:
            raise ArgumentError(
                "previous must be a table that partners gave, all of it, as Arrow or Parquet keep it; this "
                "one does not tell what it was made of, or lacks rows"
            ) from error

    def metadata(self, rows: int, undefined: int) -> dict[bytes, bytes]:
        """For the schema of a table."""
        told = {"partners": self.settings, "rows": rows, "undefined_pairs": undefined}
        return {KEY: json.dumps(told | {"models": self.models, "digests": self.digests}).encode()}


def _kept(before: _Record | None, now: _Record) -> NDArray[np.intp]:
    """Models whose partners among themselves are known from before, as indices; none where all are new."""
    none = np.empty(0, np.intp)
    if before is None:
        return none
    other = [name for name, value in now.settings.items() if before.settings.get(name) != value]
    if other:
        both = "; ".join(f"{name}: {before.settings.get(name)}, now {now.settings[name]}" for name in other)
        raise ArgumentError(f"previous was made otherwise ({both}): ask the same, or make a new one")
    place = {name: i for i, name in enumerate(now.models)}
    gone = [name for name in before.models if name not in place]
    kept = [place[name] for name in before.models if name in place]
    changed = [
        name
        for name, digest in zip(before.models, before.digests, strict=True)
        if name in place and now.digests[place[name]] != digest
    ]
    if gone or changed or kept != sorted(kept):
        reasons = [
            *([f"removed: {_some(gone)}"] if gone else []),
            *([f"other answers now: {_some(changed)}"] if changed else []),
        ]
        why = "; ".join(reasons) or "models are in another order"
        warnings.warn(f"partners are computed anew for all models ({why})", RuntimeWarning, stacklevel=3)
        return none
    return np.array(kept, np.intp)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names):,} in all)" if len(names) > 5 else "")


def _folded(job: Job, tiles: Tiles, best: Best) -> Best:
    """Fold all tiles into what is known already."""
    if not tiles.fresh:
        return best
    plan = job.plan(tiles, 4 * best.keys.nbytes)
    plan = job.announced(plan, tiles, best.fresh().fold)
    with job.bar(plan) as bar:
        for found in tiles.reduce(best.fresh, Best.fold, bar.advance, job.threads):
            best.merge(found)
    return best


def _scheduled(job: Job, runner: Runner, store: Store, tiles: Tiles, best: Best) -> Best:
    """`_folded`, on a cluster."""
    k = best.keys.shape[1]
    with job.bar(job.plan(tiles, best.keys.nbytes)) as bar:
        for part in reduced_on(runner, store, tiles, lambda some: PartnersOf(k, best.sign, best.ids[some])):
            best.merge(part.found, part.spans)
            bar.advance(part.pairs)
    return best


def _listed(table: pa.Table, names: list[str], by: str) -> tuple[Any, Any, Any, NDArray[np.float64]]:
    """Rows of a table of partners as indices of models, places and values."""
    import pyarrow.compute as pc  # 30 ms that only an update pays

    known = pa.array(names, pa.string())
    model, partner = (pc.index_in(table[c], known).to_numpy() for c in ("model", "partner"))
    return model, table["rank"].to_numpy(), partner, table[by].to_numpy()


def _table(sample: Correctness, by: str, best: Best, record: _Record) -> pa.Table:
    """Long table of what was kept."""
    from dissensus.kernels.partners import NOBODY

    rows, places = np.nonzero(best.partners != NOBODY)
    partner, names = best.partners[rows, places], pa.array(sample.model_ids, pa.string())
    columns = {
        "model": names.take(pa.array(rows)),
        "rank": pa.array(places + 1),
        "partner": names.take(pa.array(partner)),
        "accuracy": pa.array(sample.accuracy[rows]),
        "partner_accuracy": pa.array(sample.accuracy[partner]),
        MEASURES[by].name: pa.array(best.sign * best.keys[rows, places]),
    }
    return pa.table(columns).replace_schema_metadata(record.metadata(len(rows), best.undefined))
