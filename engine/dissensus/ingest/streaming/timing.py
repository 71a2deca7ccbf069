"""How long a run is going to take, from the few things that were measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from ..zoo.outline import UNKNOWN

if TYPE_CHECKING:
    from ..zoo.outline import Outline
    from .probe import Probe


@dataclass(frozen=True)
class Expected:
    """Seconds that a run is expected to take.

    Attributes
    ----------
    total_s
        All of it: on the CPU the sum of the parts, elsewhere reading and computing overlap.
    reading_s
        Reading, decoding and preparing, once a round.
    computing_s
        All models, those of unknown speed left out.
    loading_s
        Loading the models.
    example_s
        Seconds an example of each model, by its id; None where nothing like it was measured.
    measured
        Models that were run for it.
    """

    total_s: float
    reading_s: float
    computing_s: float
    loading_s: float
    example_s: Mapping[str, float | None]
    measured: Sequence[str]


def expected(
    rounds: Sequence[Sequence[Outline]],
    n_left: Mapping[str, int],
    n_read: Sequence[int],
    probe: Probe,
    speeds: Mapping[str, float | None],
    overlaps: bool,
    workers: int,
    rivals: int = 1,
) -> Expected:
    """Return the time of rounds of models.

    Parameters
    ----------
    rounds
        See `rounds_of`.
    n_left
        Examples that each model lacks.
    n_read
        Examples that each round reads.
    probe
        What was measured.
    speeds
        See `speeds_of`.
    overlaps
        Whether reading takes no time from computing, as on a device of its own.
    workers
        Processes that prepare.
    rivals
        Processes that do such work on the same processors, this one included.
    """
    own = [model.model_id for one in rounds for model in one]
    loads = [timed.load_s for timed in probe.models.values()]
    loading = len(own) * median(loads) if loads else 0.0
    reading = [n * _reading_s(one, probe, workers) for one, n in zip(rounds, n_read, strict=True)]
    computing = [sum(n_left[m.model_id] * (speeds[m.model_id] or 0.0) for m in one) for one in rounds]
    parts = zip(reading, computing, strict=True)
    both = sum(max(pair) if overlaps else sum(pair) for pair in parts)
    return Expected(
        rivals * (both + loading),
        rivals * sum(reading),
        rivals * sum(computing),
        rivals * loading,
        {name: speeds[name] for name in own},
        [name for name in probe.models if name in own],
    )


def together(times: Sequence[Expected]) -> Expected | None:
    """Return the time of devices that work beside each other: until the last one is done.

    Reading, computing and loading are those of that one.
    """
    if not times:
        return None
    last = max(times, key=lambda one: one.total_s)
    speeds = {name: speed for one in times for name, speed in one.example_s.items()}
    return replace(last, example_s=speeds, measured=[name for one in times for name in one.measured])


def _reading_s(models: Sequence[Outline], probe: Probe, workers: int) -> float:
    """Return the seconds of one example; its preprocessings run beside each other, as far as cores go."""
    forms = {model.preparation_text for model in models}
    preparing = [probe.prepare_s.get(form or "", 0.0) for form in forms]
    cores = os.cpu_count() or 1
    if workers:
        return probe.read_s + sum(preparing) / min(workers, cores)
    return probe.read_s + max(max(preparing, default=0.0), sum(preparing) / cores)


def speeds_of(models: Sequence[Outline], probe: Probe) -> dict[str, float | None]:
    """Return seconds an example: as measured, or by multiply-accumulates at the rate of the family.

    Parameters
    ----------
    models
        All of the run, those that were measured among them.
    probe
        What was measured.
    """
    rates: dict[str, float] = {}
    like: dict[str, float] = {}
    for model in models:
        timed = probe.models.get(model.model_id)
        if timed is None:
            continue
        like[model.family] = timed.example_s
        if model.gmacs:
            rates[model.family] = timed.example_s / model.gmacs
    usual = median(rates.values()) if rates else None
    return {model.model_id: _speed(model, probe, rates.get(model.family, usual), like) for model in models}


def _speed(model: Outline, probe: Probe, rate: float | None, like: Mapping[str, float]) -> float | None:
    if model.model_id in probe.models:
        return probe.models[model.model_id].example_s
    if model.gmacs and rate is not None:
        return model.gmacs * rate
    return None if model.family == UNKNOWN else like.get(model.family)
