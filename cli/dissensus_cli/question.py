"""What queries of pairs are asked about: models, examples, and where it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .grouped import EXAMPLES, option
from .queries import CALIBRATE, DEVICE, LABELS, SCHEDULER, STORE, WHERE, calibrated, on_examples

if TYPE_CHECKING:
    from dissensus import Pairs, Store

SPLIT = option(EXAMPLES, "--split", help="Only examples of this split.")
MODELS = click.option(
    "--model", "models", multiple=True, help="Only these models, in this order; repeatable."
)
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "store": STORE,
    "models": MODELS,
    "split": SPLIT,
    "where": WHERE,
    "labels": LABELS,
    "calibrate": CALIBRATE,
    "scheduler": SCHEDULER,
    "device": DEVICE,
}


def question_options(*without: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add STORE and the options of `Question.of` to a command, but for some."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed([name for name in OPTIONS if name not in without]):
            command = OPTIONS[name](command)
        return command

    return add


@dataclass(frozen=True)
class Question:
    """A store and what of it is asked about.

    Attributes
    ----------
    store : Store
        Under the label set that decides.
    models : sequence of str or None
        Models to compare; all for None.
    split, where, calibrate, scheduler, device : str or None
        As the options.
    """

    store: Store
    models: Sequence[str] | None
    split: str | None
    where: str | None
    calibrate: str | None
    scheduler: str | None
    device: str | None

    @classmethod
    def of(
        cls,
        store: Path,
        models: Sequence[str] = (),
        split: str | None = None,
        where: str | None = None,
        labels: str | None = None,
        calibrate: str | None = None,
        scheduler: str | None = None,
        device: str | None = None,
    ) -> Question:
        """Open the store of a command's options."""
        import dissensus as ds

        opened = ds.open(store).under(labels)
        return cls(opened, list(models) or None, split, where, calibrate, scheduler, device)

    @property
    def chosen(self) -> dict[str, Any]:
        """Models and examples, as arguments of the library."""
        return {"models": self.models, "split": self.split, "where": self.where}

    @property
    def asked(self) -> dict[str, Any]:
        """All but the scheduler, as arguments of `pairwise`."""
        calibrate = False if self.calibrate is None else self.calibrate
        return self.chosen | {"calibrate": calibrate, "device": self.device}

    def pairs(self, measures: str | Sequence[str], **intervals: Any) -> Pairs:
        """Ask, with progress on stderr."""
        import dissensus as ds

        options = self.asked | intervals
        return ds.pairwise(self.store, measures, scheduler=self.scheduler, progress=True, **options)

    def examples(self, pairs: Pairs) -> str:
        """Say on which examples pairs are, and where temperatures come from: for titles."""
        return on_examples(self.store, pairs.counts.n, self.split, self.where) + calibrated(pairs.notes)
