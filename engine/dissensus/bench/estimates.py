"""How long the measurements of a sweep will take: from like ones, of the sweep itself or of calibrations."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from dissensus.errors import ArgumentError, DissensusError
from dissensus.run.machine import machine_name
from dissensus.store.catalog import Store

from .cell import METHOD, Cell
from .costs import CostModel
from .jobs import JOBS, job_of
from .results import DONE, RESULTS, Row, of_here, read_rows


def calibration_folder(job: str) -> Path:
    """Where calibrations of a job on this machine are kept: the user's cache folder.

    Raises
    ------
    ArgumentError
        The user has none.
    """
    home = os.environ.get("XDG_CACHE_HOME") or ""
    if not os.path.isabs(home):  # then it is to be ignored, says the specification
        try:
            home = str(Path.home() / ".cache")
        except RuntimeError as error:
            message = "XDG_CACHE_HOME and HOME are not set: set one to a folder that you may write to"
            raise ArgumentError(message) from error
    machine = re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")
    return Path(home) / "dissensus" / "calibration" / f"{machine}-{METHOD}" / job


def calibrations() -> list[Row]:
    """What `dissensus plan` measured on this machine with these versions; nothing is measured now."""
    try:
        return [row for job in JOBS for row in of_here(read_rows(calibration_folder(job) / RESULTS))]
    except ArgumentError:  # no such folder, or no such file: nothing is known
        return []


def expected_seconds(cell: Cell, rows: Sequence[Row]) -> float | None:
    """Time of a cell by measurements of its job; None without one."""
    like = [row for row in rows if row["job"] == cell.job and row["status"] == DONE]
    model = CostModel.fit(like, "seconds", job_of(cell.job).seconds)
    return None if model is None else model.at(cell.models, cell.examples, cell.classes)


def filling_seconds(cell: Cell, there: int, rows: Sequence[Row]) -> float | None:
    """Time to write the models that a cell's store lacks, which is what the job "store" does.

    Parameters
    ----------
    cell : Cell
        What is to be measured.
    there : int
        Models that its store has.
    rows : sequence of dict
        Measurements.

    Returns
    -------
    float or None
        0 where nothing is lacking, and of a job that makes its own store; None if unknown.
    """
    if job_of(cell.job).makes_store or there >= cell.models:
        return 0.0
    size = (cell.examples, cell.classes, cell.seed)
    whole, part = (expected_seconds(Cell("store", m, *size), rows) for m in (cell.models, there))
    return None if whole is None or part is None else max(whole - (part if there else 0.0), 0.0)


def models_in(path: Path) -> int:
    """Models that a store has; 0 where there is none, or none that can be read."""
    try:
        return len(Store(path).model_ids) if path.exists() else 0
    except DissensusError:
        return 0
