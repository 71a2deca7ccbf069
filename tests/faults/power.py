"""What a power cut may leave of rows that were staged but not yet synced: zeros, torn ends, rubbish.

The next run keeps what checksums prove, or refuses and is restarted; either way it ends as an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

from dissensus.errors import CorruptionError
from dissensus.store import format as fmt

from .acts import Act, commit_embeddings, commit_logits, stage_embeddings, stage_logits, the_model
from .effort import Effort
from .figures import Figure
from .kills import PROMISE, Stage
from .processes import Outcome
from .stores import DIM, write_model


def zeros_from(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(len(data) - at)


def zero_page(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(min(4096, len(data) - at)) + data[at + 4096 :]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def torn(data: bytes, at: int) -> bytes:
    return data[:at]


LOSSES: tuple[Callable[[bytes, int], bytes], ...] = (zeros_from, zero_page, flipped, torn)


def go_on(path: Path, embedding_dim: int | None = None) -> None:
    """What a user does: go on, and restart where the store says that what is staged is damaged."""
    try:
        write_model(path, "m", embedding_dim=embedding_dim)
    except CorruptionError:
        write_model(path, "m", embedding_dim=embedding_dim, restart=True)


def power_cuts(root: Path, effort: Effort) -> Figure:
    """Damage each staged file at many places, in stores of both codecs, and let the writer go on."""
    figure = Figure("staged rows lost by a power cut: zeros, torn ends, flips", PROMISE)
    go_on_with_them = partial(go_on, embedding_dim=DIM)
    for codec in fmt.CODECS:
        for name, do, before, again in (
            (codec, commit_logits, stage_logits, go_on),
            (f"{codec} with embeddings", commit_embeddings, stage_embeddings, go_on_with_them),
        ):
            (root / name).mkdir()
            act = Act(name, do, the_model, before, again, codec)
            figure.add(_cuts(Stage(root / name, act), effort))
    return figure


def _cuts(stage: Stage, effort: Effort) -> Figure:
    figure, staged = Figure(stage.act.fault, PROMISE), stage.copy() / fmt.STAGING / "m"
    files = {p.relative_to(staged): p.read_bytes() for p in sorted(staged.rglob("*")) if p.is_file()}
    places = [(name, share * len(data) // 20) for name, data in files.items() for share in range(20)]
    for (name, at), loss in effort.pick(list(product(places, LOSSES)), 12):
        path = stage.copy()
        (path / fmt.STAGING / "m" / name).write_bytes(loss(files[name], at))
        case = f"{stage.act.fault}: {loss.__name__} at {at} of {name}"
        figure.count(case, stage.check(path, Outcome(-9)))
    return figure
