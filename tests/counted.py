"""Sources that write down what is asked of them, across processes, and fail when told to."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import dissensus as ds
from dissensus.ingest import ArrayExamples, CallableModel, ImageFolder

N, C, BATCH = 1300, 1000, 100  # three blocks of 524 rows, so that there is something to resume
OWN = ("commit.json", "model.json", "zarr.json")


def note(log: Path, line: str) -> None:
    """Append a line; several processes may."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{line}\n".encode())
    os.close(fd)


def noted(log: Path) -> Counter[str]:
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


class Odd(Exception):
    """An error that cannot be pickled back."""

    def __init__(self, path, line):
        super().__init__(f"{path}\nis odd at {line}")


def act(what: str, log: Path) -> None:
    """What a source or a preprocessing does when it meets its batch."""
    if what == "die once":
        if noted(log)["died"]:
            return
        note(log, "died")
    if what.startswith("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "odd":
        raise Odd("a.png", 3)
    if what == "gone":
        raise FileNotFoundError(2, "No such file or directory", "a.png")
    if what == "unreadable":
        raise ds.errors.UnreadableImage("ant/b.png could not be decoded any more")
    if what == "hang":
        time.sleep(600)
    if what == "slow":
        time.sleep(0.3)
    if what == "print":
        print("printed by a source")


class Counted(ArrayExamples):
    """Float rows that write down the spans that are read, and do something at some of them."""

    def __init__(self, log, n=N, n_classes=C, acts=None, writeable=False):
        rng = np.random.default_rng(0)
        labels, names = np.arange(n) % n_classes, [f"c{i}" for i in range(n_classes)]
        super().__init__(rng.normal(size=(n, 8)).astype("f4"), labels, classes=names)
        self.log, self.acts, self.writeable, self.threads = log, acts or {}, writeable, 8

    def read(self, start, stop):
        note(self.log, f"read {start}")
        note(self.log, f"threads {self.threads}")
        note(self.log, f"by {os.getpid()}")
        act(self.acts.get(start, ""), self.log)
        return self._images[start:stop] if self.writeable else super().read(start, stop)

    def spans(self):
        """How often each span was read since the last time."""
        lines = noted(self.log)
        self.log.unlink(missing_ok=True)
        return {int(line.split()[1]): k for line, k in sorted(lines.items()) if line.startswith("read")}


class CountedFolder(ImageFolder):
    """An image folder that writes down what it decodes."""

    def __init__(self, path, log):
        self.log = log
        super().__init__(path, progress=False)

    def _load(self, item):
        note(self.log, str(item))
        return super()._load(item)


@dataclass(frozen=True)
class Scaled:
    """Preprocessing that writes down its calls; fails at one batch."""

    factor: float
    log: Path
    fail_at: int = -1  # first row of a batch

    def __call__(self, images: Any) -> Any:
        note(self.log, f"prepare {self.factor}")
        if self.fail_at >= 0 and np.array_equal(images[0], Counted(self.log)._images[self.fail_at]):
            raise ValueError(f"cannot\nscale by {self.factor}")
        return images * np.float32(self.factor)


@dataclass  # compared by value and mutable: Python gives it no hash
class Unhashable:
    """Preprocessing without a hash, which holds an array."""

    factors: Any = field(default_factory=lambda: np.ones(8, "f4"))

    def __call__(self, images: Any) -> Any:
        return images * self.factors


class Model:
    """x @ W; raises `error` when it meets its n-th batch, runs short of memory above `room` examples."""

    def __init__(self, error=None, at=0, *, room=None, shortage=MemoryError, n_classes=C, seed=0):
        self.weights = np.random.default_rng(seed).normal(size=(8, n_classes)).astype("f4")
        self.error, self.at, self.calls = error, at, 0
        self.room, self.shortage = room, shortage

    def __call__(self, batch):
        self.calls += 1
        if self.error is not None and self.calls == self.at:
            raise self.error
        if self.room is not None and len(batch) > self.room:
            raise self.shortage
        return batch @ self.weights

    def source(self, model_id="m", **options):
        return CallableModel(model_id, self, fingerprint="v1", **options)


def staged_to(store, examples, source, batches):
    """Run a model until it fails at a batch, so that what it wrote is staged."""
    model = Model(RuntimeError("stopped"), batches + 1)
    model.weights = source.function.weights
    stopped = CallableModel(source.model_id, model, fingerprint="v1", preprocess=source.preprocess)
    (row,) = run(store, stopped, examples).rows
    assert row.error == "RuntimeError: stopped"


def run(store, sources, examples, **options):
    return ds.infer(
        store, sources, examples, **{"batch_size": BATCH, "device": "cpu", "progress": False} | options
    )


def outcome(report):
    return {row.model_id: row.error or row.status for row in report.rows}


def stored_bytes(store, model_id="m"):
    """Logits and derived columns: all but the id, the commit's time and the measured speed."""
    folder = store.model(model_id).folder
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {p.relative_to(folder): p.read_bytes() for p in files if p.name not in OWN}


def children(pid=None):
    """Processes that a process started and that are still there, ended ones not yet waited for included."""
    own, found = os.getpid() if pid is None else pid, []
    for folder in Path("/proc").iterdir():
        try:
            stat = (folder / "stat").read_text() if folder.name.isdigit() else ""
            command = (folder / "cmdline").read_text() if stat else ""
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1]) if stat else 0
        if parent == own and "resource_tracker" not in command and "forkserver" not in command:
            found.append(int(folder.name))
    return found


def script(path, body):
    """Write a script that runs four models with two workers; `body` may change `source` and `options`."""
    path.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path\nimport dissensus as ds\nfrom counted import *\n" + body
    )
    return [sys.executable, str(path)]
