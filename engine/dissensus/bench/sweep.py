"""Sweeps: every job at every size, in fresh processes, within a budget, resumed where one was broken off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path

import pyarrow as pa

from dissensus.errors import ArgumentError
from dissensus.run.progress import Progress
from dissensus.store.catalog import Store
from dissensus.store.files import writing
from dissensus.store.locks import FileLock

from .budget import Budget
from .cell import Cell, measure
from .estimates import calibrations, expected_seconds, filling_seconds, models_in
from .growth import SIZES, exponents
from .jobs import JOBS, empty_store, fill, job_of, store_bytes
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
    """

    cells: tuple[Cell, ...]
    folder: Path
    budget: Budget = field(default_factory=Budget)

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
        return max((_disk(cell) for cell in self.left()), default=0.0)

    def plan(self) -> pa.Table:
        """One row a cell that is left: bytes of its store, and seconds to fill it and of the job.

        Seconds are null where neither this sweep nor a calibration has measured the job (`dissensus plan`);
        `fits` says whether the budget has room for it after those before it, as `run` will see it if all
        seconds come true (unknown ones are taken for none).
        """
        rows, out, there, room = self._known(), [], dict[Path, int](), self.budget.seconds
        for cell in self.left():
            path = self.store_of(cell)
            had = there.setdefault(path, models_in(path))
            filling, seconds = filling_seconds(cell, had, rows), expected_seconds(cell, rows)
            needed = (filling or 0.0) + (seconds or 0.0)
            fits = _disk(cell) <= self.budget.disk_bytes and needed <= room
            if fits:
                room -= needed
                there[path] = had if job_of(cell.job).makes_store else max(cell.models, had)
            times = {"filling_seconds": filling, "seconds": seconds}
            out.append({**_sizes(cell), "disk_bytes": int(_disk(cell)), **times, "fits": fits})
        types = {"disk_bytes": pa.int64(), "filling_seconds": pa.float64(), "seconds": pa.float64()}
        names = [SCHEMA.field(n) for n in ("job", *SIZES)]
        return pa.Table.from_pylist(out, schema=pa.schema([*names, *types.items(), ("fits", pa.bool_())]))

    def run(self, progress: bool = False) -> pa.Table:
        """Measure what is left; every result is on disk before the next measurement starts.

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
            left = self.left()
            with Progress(len(left), "measurements", enabled=progress) as bar:
                for _, group in groupby(left, lambda cell: (cell.examples, cell.classes, cell.seed)):
                    self._group(list(group), end, lambda cell: bar.advance(1, str(cell)))
        finally:
            lock.release()
        return self.table()

    def table(self) -> pa.Table:
        """Results of these cells in their order: see the file's schema."""
        wanted = {key(vars(cell)): i for i, cell in enumerate(self.cells)}
        rows = sorted((r for r in self.rows() if key(r) in wanted), key=lambda row: wanted[key(row)])
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def growth(self) -> pa.Table:
        """Exponents of time and memory by job, in columns of the sizes: null where one did not vary."""
        out = []
        for job in dict.fromkeys(cell.job for cell in self.cells):
            rows = [row for row in self.table().to_pylist() if row["job"] == job and row["status"] == DONE]
            for what in ("seconds", "peak_memory_bytes"):
                found = exponents(rows, what)
                about = {"job": job, "of": what, "measurements": len(rows)}
                out.append(about | {size: found.get(size) for size in SIZES})
        names = [("job", pa.string()), ("of", pa.string()), ("measurements", pa.int64())]
        return pa.Table.from_pylist(out, schema=pa.schema([*names, *((s, pa.float64()) for s in SIZES)]))

    def _group(self, cells: Sequence[Cell], end: float, done: Callable[[Cell], None]) -> None:
        """Cells that share a store, which is filled as their number of models grows and then taken away."""
        path = self.store_of(cells[0])
        path.parent.mkdir(exist_ok=True)
        try:
            for cell in cells:
                self._keep(self._measured(cell, path, end))
                done(cell)
        finally:
            shutil.rmtree(path.parent, ignore_errors=True)

    def store_of(self, cell: Cell) -> Path:
        """Where the zoo that a cell shares with others lies while it is needed."""
        return self.folder / STORES / f"{cell.examples}-{cell.classes}-{cell.seed}.zoo"

    def _known(self) -> list[Row]:
        """Measurements to foretell by: those of the sweep, and calibrations of jobs that it has none of."""
        own = self.rows()
        measured = {row["job"] for row in own if row["status"] == DONE}
        return own + [row for row in calibrations() if row["job"] not in measured]

    def _measured(self, cell: Cell, path: Path, end: float) -> Row:
        rows = self._known()
        expected = expected_seconds(cell, rows)
        filling = filling_seconds(cell, models_in(path), rows)
        reason = self._reason(cell, expected, filling, end - time.monotonic())
        if reason:
            return row_of(cell, SKIPPED, reason=reason, expected=expected)
        try:
            if not job_of(cell.job).makes_store:
                store = Store(path) if path.exists() else empty_store(cell.zoo, path)
                fill(store, cell.zoo, range(cell.models), end)
            left = max(end - time.monotonic(), 1.0)
            return row_of(cell, DONE, taken=measure(cell, path, left), expected=expected)
        except TimeoutError as error:
            return row_of(cell, SKIPPED, reason=str(error), expected=expected)
        except (RuntimeError, OSError) as error:
            return row_of(cell, FAILED, reason=str(error), expected=expected)

    def _reason(self, cell: Cell, expected: float | None, filling: float | None, seconds: float) -> str:
        """Why a cell does not fit the budget or the disk; nothing where it does."""
        self.folder.mkdir(parents=True, exist_ok=True)
        room = min(self.budget.disk_bytes, shutil.disk_usage(self.folder).free + _held(self.folder / STORES))
        if _disk(cell) > room:
            return f"needs {_disk(cell) / 2**30:.2f} GiB of disk, {room / 2**30:.2f} GiB are allowed or free"
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
    return Sweep(cells, Path(folder), budget or Budget())


def _sizes(cell: Cell) -> dict[str, int]:
    return {name: getattr(cell, name) for name in ("job", *SIZES)}


def _disk(cell: Cell) -> float:
    return float(store_bytes(cell.models, cell.examples, cell.classes))


def _held(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.exists() else 0
