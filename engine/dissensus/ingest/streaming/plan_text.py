"""The plan of a run for people."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from dissensus.run.memory import told as told

from .fleet import told_apart

if TYPE_CHECKING:
    from ..zoo.outline import Outline
    from .plan import DevicePlan, Group, IngestPlan

_INDENT = 12
_NAMED = 4


def lines(plan: IngestPlan, width: int) -> list[str]:
    """Return the lines of `IngestPlan.lines`."""
    facts = {
        "models": _models(plan),
        "examples": f"{plan.n_examples:,} of {plan.n_classes:,} classes, {plan.batch_size} a batch, "
        f"on {plan.device}",
        "rounds": _rounds(plan),
        "decodes": _decodes(plan),
        "disk": _disk(plan),
        "memory": _memory(plan) if plan.outlines else "",
        "time": _time(plan),
        **(_devices(plan) if plan.outlines else {}),
    }
    body = [line for name, text in facts.items() if text for line in _fact(name, text, width)]
    table = _table(plan, width) if plan.outlines else []
    notes = [line for note in _notes(plan) for line in _wrapped(note, width, "- ", "  ")]
    return [*body, *([""] if table else []), *table, *([""] if notes else []), *notes]


def short(plan: IngestPlan) -> list[str]:
    """Return the lines of `IngestPlan.short`."""
    if not plan.outlines:
        return [f"all {len(plan.stored)} models are in the store; their origin is checked"]
    memory = plan.memory
    rounds = count(len(plan.rounds), "round", "rounds")
    return [
        f"models: {_models(plan)}; {rounds}, {plan.decodes:,} images to decode",
        f"disk: {_disk(plan)}; memory: at least {told(memory.host_least_bytes)}, "
        f"{told(memory.host_free_bytes)} free",
    ]


def _models(plan: IngestPlan) -> str:
    stored, staged, left = len(plan.stored), len(plan.staged), len(plan.outlines)
    parts = [f"{left} to run"]
    if staged:
        parts[0] += f" ({staged} of them begun, {sum(plan.staged.values()):,} rows staged)"
    return ", ".join([*parts, *([f"{stored} in the store already"] if stored else [])])


def _rounds(plan: IngestPlan) -> str:
    if not plan.rounds:
        return ""
    most = max(map(len, plan.rounds))
    together = f"{most} models together" if most > 1 else "one model at a time"
    return f"{len(plan.rounds)}, {'at most ' if len(plan.rounds) > 1 and most > 1 else ''}{together}"


def _decodes(plan: IngestPlan) -> str:
    if not plan.outlines:
        return ""
    alone = f"; {plan.decodes_alone:,} with one model at a time"
    return f"{plan.decodes:,} images{alone if plan.decodes_alone > plan.decodes else ''}"


def _disk(plan: IngestPlan) -> str:
    disk = plan.disk
    most = "" if disk.is_exact else "at most " if plan.disk.write_bytes else ""
    return f"{most}{told(disk.write_bytes)} to write, {told(disk.free_bytes)} free"


def _memory(plan: IngestPlan) -> str:
    memory = plan.memory
    there = f"{told(memory.host_free_bytes)} free"
    if plan.probe is None:
        return f"at least {told(memory.host_least_bytes)}, {there}"
    sizes = {field.name: getattr(memory.parts, field.name) for field in fields(memory.parts)}
    parts = ", ".join(f"{name} {told(size)}" for name, size in sizes.items() if size)
    each = "" if len(plan.devices) == 1 else "the largest of its processes: "
    return f"up to {told(memory.host_bytes)}, {there} ({each}{parts})"


def _devices(plan: IngestPlan) -> dict[str, str]:
    """Return a line for each device, where there are several or one has memory of its own."""
    if len(plan.devices) == 1 and plan.devices[0].free_bytes is None:
        return {}
    names = told_apart([one.device for one in plan.devices])
    return {name: _device(one, plan) for name, one in zip(names, plan.devices, strict=True)}


def _device(one: DevicePlan, plan: IngestPlan) -> str:
    parts = [f"{count(one.n_models, 'model', 'models')} in {count(len(one.rounds), 'round', 'rounds')}"]
    if one.time is not None:
        parts.append(about(one.time.total_s))
    if one.needed_bytes is not None and one.free_bytes is not None:
        known = "at least" if plan.probe is None else "up to"
        parts.append(f"{known} {told(one.needed_bytes)} of its memory, {told(one.free_bytes)} free")
    return ", ".join(parts)


def _time(plan: IngestPlan) -> str:
    time = plan.time
    if time is None:
        return ""
    parts = f"computing {duration(time.computing_s)}, reading {duration(time.reading_s)}"
    if time.loading_s >= 1:
        parts += f", loading {duration(time.loading_s)}"
    if any(speed is None for speed in time.example_s.values()):
        least = duration(time.total_s) if time.total_s >= 1 else f"{time.total_s:.1f} s"
        return f"at least {least} ({parts})"
    return f"{about(time.total_s)} ({parts})"


def _table(plan: IngestPlan, width: int) -> list[str]:
    """Return one line a preprocessing: models, weights, the range of multiply-accumulates, seconds."""
    rows = [_group(plan, group) for group in plan.groups]
    heads = ("models", "weights", "GMACs", "computing")
    sizes = [max(len(head), *(len(row[i + 1]) for row in rows)) for i, head in enumerate(heads)]
    first = max(20, min(max(len(row[0]) for row in rows), width - sum(sizes) - 2 * len(sizes)))
    cells = [("preprocessing", *heads), *rows]
    return [
        f"{_cut(name, first):<{first}}"
        + "".join(f"  {text:>{size}}" for text, size in zip(others, sizes, strict=True))
        for name, *others in cells
    ]


def _group(plan: IngestPlan, group: Group) -> tuple[str, str, str, str, str]:
    models = [plan.outlines[name] for name in group.model_ids]
    speeds = [] if plan.time is None else [plan.time.example_s[name] for name in group.model_ids]
    n = {name: plan.n_examples - plan.staged.get(name, 0) for name in group.model_ids}
    known = [
        speed * n[name] for speed, name in zip(speeds, group.model_ids, strict=False) if speed is not None
    ]
    return (
        group.preparation_text or "not known before loading",
        str(len(models)),
        _sum(models),
        _range([one.gmacs for one in models if one.gmacs is not None]),
        duration(sum(known)) if known else "–",
    )


def _sum(models: Sequence[Outline]) -> str:
    sizes = [one.weights_bytes for one in models if one.weights_bytes is not None]
    return told(sum(sizes)) if sizes else "–"


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = (f"{value:.3g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} … {high}"


def _notes(plan: IngestPlan) -> list[str]:
    notes = []
    if plan.time is not None and plan.time.measured:
        ran = plan.time.measured
        others = sum(_is_judged(plan, name) for name in plan.outlines)
        judged = "other one is" if others == 1 else f"other {others} are"
        rest = f"; the {judged} judged by GMACs, so expect a factor of two" if others else ""
        notes.append(f"measured: reading, and {_names(ran)} on some examples{rest}")
    unsized = [name for name, one in plan.outlines.items() if one.weights_bytes is None]
    if unsized:
        notes.append(f"of unknown size before loading, and not counted in memory: {_names(unsized)}")
    if plan.time is not None:
        slow = [name for name, speed in plan.time.example_s.items() if speed is None]
        if slow:
            notes.append(f"of unknown speed, and not counted in time: {_names(slow)}")
    notes += [f"{name} is going to fail: {reason}" for name, reason in plan.failing.items()]
    if not plan.disk.is_exact and plan.disk.most_bytes > plan.disk.free_bytes:
        notes.append("the disk may not suffice; what is written when it is full is kept, and can be resumed")
    if plan.too_large:
        notes.append(f"larger than the memory there is: {_names(plan.too_large)}")
    if plan.memory.host_bytes > plan.memory.host_free_bytes:
        notes.append(
            "memory may not suffice: take a smaller --batch-size, a smaller --resident, or fewer --workers"
        )
    if plan.memory.devices:
        notes.append(
            "where the device's memory does not suffice for a batch, a model goes on with half of it"
        )
    if plan.stored:
        notes.append(
            "models in the store are loaded to see whether their weights are the same, not run again"
        )
    return notes


def _is_judged(plan: IngestPlan, name: str) -> bool:
    """Whether a model's time is told by its multiply-accumulates alone."""
    if plan.time is None or name in plan.time.measured:
        return False
    return plan.time.example_s[name] is not None and plan.outlines[name].gmacs is not None


def duration(seconds: float) -> str:
    """Return a time for people: in seconds below two minutes, in minutes below two hours, then in hours."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def about(seconds: float) -> str:
    """Return a time that is a guess, for people: "about 5 min", "under 1 s"."""
    return duration(seconds) if seconds < 1 else f"about {duration(seconds)}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def count(n: int, one: str, several: str) -> str:
    """Return a number with its noun."""
    return f"{n:,} {one if n == 1 else several}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _fact(name: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, f"{name:<{_INDENT}}", " " * _INDENT)


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)
