"""Long lists of cases on all processors, in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

from dissensus.run.progress import Progress

from .figures import Figure
from .kept import Kept
from .processes import CONTEXT, watch_parent

PIECE = 500  # cases, some seconds

Piece = Callable[[slice], Figure]  # tries some of the cases that it knows


def in_pieces(figure: Figure, number: int, piece: Piece, kept: Kept) -> Figure:
    """Enter the trials of so many cases, tried in pieces by as many processes as there are processors."""
    slices = [slice(start, min(start + PIECE, number)) for start in range(0, number, PIECE)]
    names = {f"{figure.fault} {cases.start}-{cases.stop} of {number}": cases for cases in slices}
    there = [part for name in names if (part := kept.get(name)) is not None]
    left = {name: cases for name, cases in names.items() if kept.get(name) is None}
    for part in there:
        figure.add(part)
    with (
        ProcessPoolExecutor(len(os.sched_getaffinity(0)), CONTEXT, initializer=watch_parent) as pool,
        Progress(number, figure.fault, enabled=number > 10 * PIECE) as progress,
    ):
        jobs = {pool.submit(piece, cases): name for name, cases in left.items()}
        progress.advance(figure.tried)
        for job in as_completed(jobs):
            figure.add(kept.put(jobs[job], job.result()))
            progress.advance(job.result().tried)
    return figure
