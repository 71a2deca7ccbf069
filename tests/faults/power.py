"""What a power cut may leave of rows that were staged but not yet synced: zeros, torn ends, rubbish.

The next run keeps what checksums prove, or refuses and is restarted; either way it ends as an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

from dissensus.errors import CorruptionError
from dissensus.store import format as fmt

from .acts import Act, commit_logits, stage_logits, the_model
from .figures import Effort, Figure
from .kills import PROMISE, Stage
from .processes import Outcome
from .stores import write_model


def zeros_from(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(len(data) - at)


def zero_page(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(min(4096, len(data) - at)) + data[at + 4096 :]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def torn(data: bytes, at: int) -> bytes:
    return data[:at]


LOSSES: tuple[Callable[[bytes, int], bytes], ...] = (zeros_from, zero_page, flipped, torn)


def go_on(path: Path) -> None:
    """What a user does: go on, and restart where the store says that what is staged is damaged."""
    try:
        commit_logits(path)
    except CorruptionError:
        write_model(path, "m", restart=True)


def power_cuts(root: Path, effort: Effort) -> Figure:
    """Damage each staged file at many places, in stores of both codecs, and let the writer go on."""
    figure = Figure("staged rows lost by a power cut: zeros, torn ends, flips", PROMISE)
    for codec in fmt.CODECS:
        (root / codec).mkdir()
        act = Act(codec, commit_logits, the_model, stage_logits, go_on, codec)
        figure.add(_cuts(Stage(root / codec, act), effort))
    return figure


def _cuts(stage: Stage, effort: Effort) -> Figure:
    figure, staged = Figure(stage.act.fault, PROMISE), stage.copy() / fmt.STAGING / "m"
    files = {p.relative_to(staged): p.read_bytes() for p in sorted(staged.rglob("*")) if p.is_file()}
    places = [(name, share * len(data) // 20) for name, data in files.items() for share in range(20)]
    for (name, at), loss in effort.pick(list(product(places, LOSSES)), 20):
        path = stage.copy()
        (path / fmt.STAGING / "m" / name).write_bytes(loss(files[name], at))
        case = f"{stage.act.fault}: {loss.__name__} at {at} of {name}"
        figure.count(case, stage.check(path, Outcome(-9)))
    return figure
