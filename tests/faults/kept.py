"""Figures that outlive a run that is broken off, so that the next one goes on there."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import dissensus

from .figures import Figure


class Kept:
    """Figures by name in a file of lines, good for one seed and these sources of the store and the suite.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    seed : int
        Of the run.
    """

    def __init__(self, path: Path | None = None, seed: int = 0) -> None:
        self._path, self._run = path, f"{seed} {sources()}" if path else ""
        self._start, self._earlier = time.monotonic(), 0.0
        self._figures = dict(self._read()) if path and path.exists() else {}

    def __len__(self) -> int:
        return len(self._figures)

    def _read(self) -> Iterator[tuple[str, Figure]]:
        assert self._path is not None
        for line in self._path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # torn by the end of the run
                continue
            if entry["run"] == self._run:
                self._earlier = entry["seconds"]
                yield entry["name"], Figure(**entry["figure"])

    def seconds(self) -> float:
        """Time spent, by earlier runs on what is kept of them and by this one."""
        return self._earlier + time.monotonic() - self._start

    def made(self, name: str, make: Callable[[], Figure]) -> Figure:
        """The figure of this name, made now where it is not there."""
        return self._figures[name] if name in self._figures else self.put(name, make())

    def get(self, name: str) -> Figure | None:
        return self._figures.get(name)

    def put(self, name: str, figure: Figure) -> Figure:
        """Keep a figure; one in which something was lost is tried again by the next run."""
        if self._path and not figure.lost:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                line = {"run": self._run, "name": name, "figure": asdict(figure), "seconds": self.seconds()}
                file.write("\n" + json.dumps(line) + "\n")  # not behind what a killed run has torn
        return figure


def sources() -> str:
    """Digest of the suite and of what it can reach, the store: a figure of other code is not taken over."""
    library, digest = Path(dissensus.__file__).parent, hashlib.sha256()
    folders = (library / "store", Path(__file__).parent)
    for path in [library / "errors.py", *(p for f in folders for p in sorted(f.rglob("*.py")))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
