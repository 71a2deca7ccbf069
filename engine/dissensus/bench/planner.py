"""How long a job will take here, how much memory and disk: from a calibration of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dissensus.errors import DissensusError

from .cell import Cell
from .costs import CostModel
from .estimates import calibration_folder
from .jobs import Job, job_of, store_bytes
from .results import DONE, Row
from .sweep import Sweep

NEAR = 0.30  # how near to the time taken a forecast is to be, as a share of it
FARTHEST = 0.9  # of the calibrations themselves: a forecast always has two ends


class MeasuringFailed(DissensusError, RuntimeError):
    """Nothing could be measured, so that nothing can be foretold."""


@dataclass(frozen=True)
class Prediction:
    """What a job is expected to take.

    Attributes
    ----------
    job : str
        Name of the job.
    models, examples, classes : int
        Size.
    seconds : float
        Wall clock.
    seconds_low, seconds_high : float
        Times of which the forecast is within 30 %, or farther where it is so of the calibrations.
    parts : dict of str to float
        Seconds of each kind of work, the most first.
    memory_bytes : int
        Peak private memory, rather too much: see `CostModel.at_most`.
    store_bytes : int
        Bytes of the store.
    beyond : float
        How many times more work of some kind it has than the calibrations; far beyond, it is a guess.
    """

    job: str
    models: int
    examples: int
    classes: int
    seconds: float
    seconds_low: float
    seconds_high: float
    parts: dict[str, float]
    memory_bytes: int
    store_bytes: int
    beyond: float


def calibration_cells(job: str) -> tuple[Cell, ...]:
    """What is measured before a job can be foretold."""
    return tuple(Cell(job, *size) for size in job_of(job).calibration)


def left_to_calibrate(job: str) -> int:
    """How many sizes of a job were not measured on this machine."""
    return len(Sweep(calibration_cells(job), calibration_folder(job)).left())


def calibrate(job: str, *, again: bool = False, progress: bool = False) -> list[Row]:
    """Measure a job at a few small sizes, once a machine; kept in the user's cache folder.

    Parameters
    ----------
    job : str
        Name in `JOBS`.
    again : bool
        Measure anew.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    list of dict
        Rows as in a sweep.

    Raises
    ------
    MeasuringFailed
        Some sizes could not be measured: of the others, forecasts would be wrong.
    ArgumentError
        There is no cache folder.
    """
    measuring = Sweep(calibration_cells(job), calibration_folder(job))
    if again or measuring.left():
        measuring.run(progress, again=again)
    if measuring.left():
        rows, many = measuring.table().to_pylist(), f"{len(measuring.left())} of {len(measuring.cells)}"
        reason = next(row["reason"] for row in rows if row["status"] != DONE)
        raise MeasuringFailed(f"{many} calibrations of {job!r} failed: {reason}; mend that and ask again")
    return measuring.done()


def predict(job: str, models: int, examples: int, classes: int, rows: list[Row]) -> Prediction:
    """Forecast from calibrations, or from any rows of a sweep.

    Raises
    ------
    MeasuringFailed
        No calibration succeeded.
    """
    known: Job = job_of(job)
    like = [row for row in rows if row["job"] == job]
    time = CostModel.fit(like, "seconds", known.seconds)
    memory = CostModel.fit(like, "peak_memory_bytes", known.memory, "base_memory_bytes", known.held)
    if time is None or memory is None:
        raise MeasuringFailed(f"no measurement of {job!r} succeeded: try dissensus bench sweep --jobs {job}")
    size = (models, examples, classes)
    there: dict[str, Any] = {"job": job, "models": models, "examples": examples, "classes": classes}
    seconds, share = time.at(*size), min(max(NEAR, time.spread), FARTHEST)
    return Prediction(
        **there,
        seconds=seconds,
        seconds_low=seconds / (1 + share),
        seconds_high=seconds / (1 - share),
        parts=time.parts(*size),
        memory_bytes=round(memory.at_most(*size)),
        store_bytes=store_bytes(*size),
        beyond=max(time.beyond(*size), memory.beyond(*size)),
    )
