"""Models found in files, taken into a store one after the other: read whole, judged, written."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.errors import DissensusError, StoreFull
from dissensus.run.progress import Progress

from ..zoo.checkpoints import one_line
from .align import Aligned
from .arrange import Arrangement
from .detect import Reading, check_shape, decide
from .report import ImportRow
from .source import Entry, Source
from .stored import is_described_otherwise, is_stored, own_keys
from .survey import Survey, require_finite
from .suspicions import Known, suspicions

if TYPE_CHECKING:
    from dissensus.store.catalog import Store


@dataclass(frozen=True)
class Job:
    """One call of `import_predictions`, its arguments checked.

    Attributes
    ----------
    store, kind, metadata, replace
        As given.
    arrangement
        How rows and classes of files lie.
    known
        Models of the store by what they predict.
    """

    store: Store
    kind: str
    arrangement: Arrangement
    metadata: dict[str, Any]
    replace: bool
    known: Known

    def run(self, entry: Entry, bar: Progress) -> tuple[ImportRow, bool]:
        """Import one model; return its row in the report, and whether the store is full."""
        start = time.perf_counter()
        try:
            row = self._run(entry, bar, start)
        except Exception as error:
            known = isinstance(error, DissensusError)
            text = str(error) if known else f"{type(error).__name__}: {one_line(error)}"
            if isinstance(error, ValueError | KeyError) and entry.file.name not in text:
                text = f"{entry.file.name}: {text}"
            seconds = time.perf_counter() - start
            failed = ImportRow(entry.model_id, str(entry.file), "failed", error=text, seconds=seconds)
            return failed, isinstance(error, StoreFull)
        return row, False

    def _run(self, entry: Entry, bar: Progress, start: float) -> ImportRow:
        source = entry.load()
        check_shape(source.shape, source.dtype, self.store.n_classes)
        notes = [*source.facts.notes, *own_keys(self.metadata)]
        aligned = self.arrangement.of(source, entry.file, notes)
        survey = self._survey(aligned, source, f"{entry.model_id}: reading", bar)
        require_finite(survey, entry.file.name, self.store.example_ids, self.store.classes)
        reading = decide(survey, self.kind, source.facts.hint)
        notes += reading.notes
        content = {"source": "import", "content": survey.content, "form": reading.form}
        status = self._store(entry, source, aligned, reading, content, notes, bar)
        doubts, accuracy = self._judge(entry.model_id, source)
        return ImportRow(
            entry.model_id,
            str(entry.file),
            status,
            kind=reading.kind,
            accuracy=accuracy,
            notes=[*notes, *doubts],
            suspicions=doubts,
            seconds=time.perf_counter() - start,
        )

    def _store(
        self,
        entry: Entry,
        source: Source,
        aligned: Aligned,
        reading: Reading,
        content: Mapping[str, str],
        notes: list[str],
        bar: Progress,
    ) -> str:
        """Write the model unless it is there with this content; return its status."""
        if is_stored(self.store, entry.model_id, content, reading.kind, self.replace):
            changed = is_described_otherwise(self.store.model(entry.model_id), self.metadata)
            if not (changed and self.replace):
                said = "metadata not changed: replace the model with replace=True (--replace)"
                notes += [said] if changed else []
                return "stored"
        metadata = self._describe(source, entry.file, notes)
        self._write(entry.model_id, aligned, reading, content, metadata, bar)
        return "done"

    def _survey(self, aligned: Aligned, source: Source, label: str, bar: Progress) -> Survey:
        survey = Survey(self.store.n_classes, self.store.example_ids)
        for block in aligned.blocks():
            survey.add(block)
            bar.advance(0, status=f"{label} {survey.n:,} of {source.shape[0]:,} rows")
        return survey

    def _describe(self, source: Source, file: Path, notes: list[str]) -> dict[str, Any]:
        own = {"source": "import", "file": file.name, "format": source.facts.format, "kind_given": self.kind}
        return {**self.metadata, **own, **({"notes": notes} if notes else {})}

    def _write(
        self,
        model_id: str,
        aligned: Aligned,
        reading: Reading,
        content: Mapping[str, str],
        metadata: Mapping[str, Any],
        bar: Progress,
    ) -> None:
        options: dict[str, Any] = {"replace": True} if self.replace else {}
        with self.store.writer(
            model_id,
            fingerprint=content,
            metadata=metadata,
            kind=reading.kind,
            resumable=False,
            restart=self.replace,
            **options,
        ) as writer:
            done = writer.position  # a killed import goes on there
            for block in aligned.blocks(done):
                writer.append(reading.convert(block))
                done += len(block)
                bar.advance(0, status=f"{model_id}: {done:,} of {self.store.n_examples:,} rows stored")

    def _judge(self, model_id: str, source: Source) -> tuple[list[str], float]:
        """What looks wrong about a stored model, and its accuracy."""
        predicted, truth = self.store.model(model_id).column("top1"), self.store.truth
        has_order = source.facts.ids is not None or self.arrangement.rows is not None
        doubts = suspicions(predicted, truth, self.store.classes, has_order, source.facts.is_weak)
        twin = self.known.same_as(model_id)
        counted = truth.counted
        accuracy = float(truth.correct(predicted)[counted].mean()) if counted.any() else float("nan")
        if accuracy == 1 and twin and (self.store.model(model_id).kind == "labels" or "predictions" in twin):
            twin = None  # two that are right everywhere are no copies for that
        return [*doubts, *([twin] if twin else [])], accuracy
