"""Sweeps: every job at every size, in fresh processes, within a budget, resumed where one was broken off."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path

import pyarrow as pa

from dissensus.errors import ArgumentError
from dissensus.run.memory import told
from dissensus.run.progress import Progress
from dissensus.store.catalog import Store
from dissensus.store.files import writing
from dissensus.store.locks import FileLock

from .budget import Budget
from .cell import Cell, measure
from .estimates import calibrations, expected_seconds, filling_seconds, models_in
from .growth import SIZES, exponents
from .jobs import JOBS, empty_store, fill, holds, job_of, store_bytes
from .remains import empty
from .results import (
    DONE,
    FAILED,
    RESULTS,
    SCHEMA,
    SKIPPED,
    Row,
    key,
    of_here,
    read_rows,
    row_of,
    write_rows,
)
from .room import room

LOCK = ".sweep-lock"
STORES = ".sweep-stores"  # taken away again: no name of a user's own folder


@dataclass(frozen=True)
class Sweep:
    """A grid of measurements and the folder that keeps them.

    Attributes
    ----------
    cells : tuple of Cell
        What is measured, in the order in which it is.
    folder : Path
        Holds `sweep.parquet`, and stores while they are needed.
    budget : Budget
        Time and disk.
    store : Path, optional
        A zoo that is there already: only read, by all jobs that do not make their own.
    """

    cells: tuple[Cell, ...]
    folder: Path
    budget: Budget = field(default_factory=Budget)
    store: Path | None = None

    @property
    def results(self) -> Path:
        """File of the results."""
        return self.folder / RESULTS

    def rows(self) -> list[Row]:
        """What has been measured so far, on this machine with these versions; the file may hold more."""
        return of_here(read_rows(self.results))

    def left(self) -> list[Cell]:
        """Cells that are not done."""
        done = {key(row) for row in self.rows() if row["status"] == DONE}
        return [cell for cell in self.cells if key(vars(cell)) not in done]

    @property
    def disk_bytes(self) -> float:
        """Most bytes of stores at one time, over the cells that are left."""
        return max((self._needs(cell) for cell in self.left()), default=0.0)

    def plan(self) -> pa.Table:
        """One row a cell that is left: bytes of its store, and seconds to fill it and of the job.

        Seconds are null where neither this sweep nor a calibration has measured the job (`dissensus plan`);
        `fits` says whether the budget has room for it after those before it, as `run` will see it if all
        seconds come true (unknown ones are taken for none).
        """
        rows, out, there, left = self._known(), [], dict[Path, int](), self.budget.seconds
        for cell in self.left():
            path = self.store_of(cell)
            had = there.setdefault(path, models_in(path))
            filling, seconds = filling_seconds(cell, had, rows), expected_seconds(cell, rows)
            needed = (filling or 0.0) + (seconds or 0.0)
            fits = self._needs(cell) <= self._room(cell) and needed <= left
            if fits:
                left -= needed
                there[path] = had if job_of(cell.job).makes_store else max(cell.models, had)
            times = {"filling_seconds": filling, "seconds": seconds}
            out.append({**_sizes(cell), "disk_bytes": int(self._needs(cell)), **times, "fits": fits})
        types = {"disk_bytes": pa.int64(), "filling_seconds": pa.float64(), "seconds": pa.float64()}
        names = [SCHEMA.field(n) for n in ("job", *SIZES)]
        return pa.Table.from_pylist(out, schema=pa.schema([*names, *types.items(), ("fits", pa.bool_())]))

    def run(self, progress: bool = False, *, again: bool = False) -> pa.Table:
        """Measure what is left; every result is on disk before the next measurement starts.

        Parameters
        ----------
        progress : bool
            Show progress on stderr.
        again : bool
            Measure all; each result replaces the one that is there.

        Returns
        -------
        pyarrow.Table
            All results of these cells, as `table`.

        Raises
        ------
        WriterBusy
            Another process measures into this folder.
        """
        end = time.monotonic() + self.budget.seconds
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        busy = f"another process measures into {self.folder}: wait for it, or choose another folder"
        lock = FileLock(self.folder / LOCK, busy)  # each takes the stores away that it finds
        try:
            left = self.cells if again else self.left()
            with Progress(len(left), "measurements", enabled=progress) as bar:
                for _, group in groupby(left, self.store_of):
                    self._group(list(group), end, lambda cell: bar.advance(1, str(cell)))
        finally:
            shutil.rmtree(self.folder / STORES, ignore_errors=True)
            lock.release()
        return self.table()

    def table(self) -> pa.Table:
        """Results of these cells in their order: see the file's schema."""
        wanted = {key(vars(cell)): i for i, cell in enumerate(self.cells)}
        rows = sorted((r for r in self.rows() if key(r) in wanted), key=lambda row: wanted[key(row)])
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def done(self) -> list[Row]:
        """What these cells were measured to take."""
        return [row for row in self.table().to_pylist() if row["status"] == DONE]

    def growth(self) -> pa.Table:
        """Exponents of time and memory by job, in columns of the sizes: null where one did not vary.

        Memory is what a process took beyond what it had before it began.
        """
        out = []
        for job in dict.fromkeys(cell.job for cell in self.cells):
            rows = [row for row in self.done() if row["job"] == job]
            for row in rows:  # what was there before any work does not grow
                row["grown_memory_bytes"] = row["peak_memory_bytes"] - row["base_memory_bytes"]
            for what in ("seconds", "grown_memory_bytes"):
                found = exponents(rows, what)
                about = {"job": job, "of": what, "measurements": len(rows)}
                out.append(about | {size: found.get(size) for size in SIZES})
        names = [("job", pa.string()), ("of", pa.string()), ("measurements", pa.int64())]
        return pa.Table.from_pylist(out, schema=pa.schema([*names, *((s, pa.float64()) for s in SIZES)]))

    def _group(self, cells: Sequence[Cell], end: float, done: Callable[[Cell], None]) -> None:
        """Cells that share a store, which is filled as their number of models grows and then emptied."""
        path = self.store_of(cells[0])
        (self.folder / STORES).mkdir(exist_ok=True)
        if path != self.store and not models_in(path):
            shutil.rmtree(path, ignore_errors=True)  # what a killed sweep left and nobody can read
        for cell in cells:
            self._keep(self._measured(cell, path, end))
            done(cell)
        if path != self.store and path.exists():
            empty(path)
            path.rename(tempfile.mkdtemp(dir=path.parent))

    def store_of(self, cell: Cell) -> Path:
        """Where the zoo that a cell shares with others lies while it is needed."""
        return self.store or self.folder / STORES / f"{cell.examples}-{cell.classes}-{cell.seed}.zoo"

    def _known(self) -> list[Row]:
        """Measurements to foretell by: its own, and calibrations, which tell kinds of work apart."""
        return self.rows() + calibrations()

    def _needs(self, cell: Cell) -> float:
        """Bytes of disk for the store of a cell; 0 of one that is only read."""
        return 0.0 if self._only_reads(cell) else _disk(cell)

    def _room(self, cell: Cell) -> float:
        """Bytes that the store of a cell may grow to; one that is only read is not looked through for it."""
        if self._only_reads(cell):
            return float("inf")
        stores = self.folder / STORES
        path = stores / "own" if job_of(cell.job).makes_store else self.store_of(cell)
        return room(self.folder, stores, path, self.budget.disk_bytes)

    def _only_reads(self, cell: Cell) -> bool:
        return self.store is not None and not job_of(cell.job).makes_store

    def _measured(self, cell: Cell, path: Path, end: float) -> Row:
        rows = self._known()
        expected = expected_seconds(cell, rows)
        filling = filling_seconds(cell, models_in(path), rows)
        reason = self._reason(cell, expected, filling, end - time.monotonic())
        if reason:
            return row_of(cell, SKIPPED, reason=reason, expected=expected)
        try:
            if not (job_of(cell.job).makes_store or self._only_reads(cell)):
                store = Store(path) if path.exists() else empty_store(cell.zoo, path)
                fill(store, cell.zoo, range(cell.models), end)
            left = max(end - time.monotonic(), 1.0)
            return row_of(
                cell, DONE, taken=measure(cell, path, self.folder / STORES, left), expected=expected
            )
        except TimeoutError as error:
            return row_of(cell, SKIPPED, reason=str(error), expected=expected)
        except (RuntimeError, OSError) as error:
            return row_of(cell, FAILED, reason=str(error), expected=expected)

    def _reason(self, cell: Cell, expected: float | None, filling: float | None, seconds: float) -> str:
        """Why a cell does not fit the budget or the disk; nothing where it does."""
        needed, free = self._needs(cell), self._room(cell)
        if needed > free:
            return f"needs {told(needed)} of disk, {told(free)} are allowed or free"
        if seconds <= 0 or (expected or 0) + (filling or 0) > seconds:
            needs = f"about {expected:,.0f} s" if expected else "an unknown time"
            needs += f" and about {filling:,.0f} s to fill its store" if filling else ""
            return f"needs {needs}, {max(seconds, 0):,.0f} s of the budget are left"
        return ""

    def _keep(self, row: Row) -> None:
        rows = [other for other in read_rows(self.results) if key(other) != key(row)]
        write_rows(self.results, [*rows, row])


def sweep(
    folder: str | Path,
    *,
    models: Sequence[int],
    examples: Sequence[int],
    classes: Sequence[int],
    jobs: Sequence[str] = tuple(JOBS),
    seed: int = 0,
    budget: Budget | None = None,
    store: str | Path | None = None,
) -> Sweep:
    """Lay out a sweep over all combinations of sizes and jobs; nothing runs before `Sweep.run`.

    Parameters
    ----------
    folder : str or Path
        Where results and, for a while, stores lie; one that has results goes on with what is missing.
    models, examples, classes : sequence of int
        Sizes M, N and C.
    jobs : sequence of str
        Names in `JOBS`: store, ingest, pairs, greedy, pair-ensembles.
    seed : int
        Of the synthetic zoos.
    budget : Budget, optional
        What does not fit is recorded as skipped, with the reason.
    store : str or Path, optional
        A synthetic zoo of these examples, classes and seed that is there already and has at least as many
        models: it is only read, and none is filled.

    Returns
    -------
    Sweep

    Raises
    ------
    ArgumentError, UnknownName
    """
    for name, sizes, least in (("models", models, 2), ("examples", examples, 2), ("classes", classes, 2)):
        if not sizes or min(sizes) < least:
            raise ArgumentError(f"{name} must be numbers of at least {least}; got {list(sizes)!r}")
    if not jobs:
        raise ArgumentError(f"jobs is empty: name some of {', '.join(JOBS)}")
    known = [job_of(name) for name in dict.fromkeys(jobs)]
    known.sort(key=lambda job: not job.makes_store)  # stores of their own come and go before the shared one
    grid = product(sorted(set(examples)), sorted(set(classes)))
    cells = tuple(
        Cell(job.name, m, n, c, seed) for n, c in grid for job in known for m in sorted(set(models))
    )
    own = None if store is None else _zoo_of(Path(store), cells)
    return Sweep(cells, Path(folder), budget or Budget(), own)


def _zoo_of(path: Path, cells: Sequence[Cell]) -> Path:
    """A store that has the zoos of all cells.

    Raises
    ------
    ArgumentError
        It is of another size or seed, or lacks models.
    """
    sizes = {(cell.examples, cell.classes) for cell in cells}
    most = max(cells, key=lambda cell: cell.models)
    if len(sizes) > 1 or not holds(Store(path), most.zoo):
        raise ArgumentError(
            f"store={str(path)!r} is no zoo of this sweep: it needs {most.models:,} synthetic models of seed "
            f"{most.seed} at {' and '.join(f'{n:,} x {c:,}' for n, c in sorted(sizes))} examples x classes"
        )
    return path


def _sizes(cell: Cell) -> dict[str, int]:
    return {name: getattr(cell, name) for name in ("job", *SIZES)}


def _disk(cell: Cell) -> float:
    return float(store_bytes(cell.models, cell.examples, cell.classes))
