"""One measurement in a process of its own, ``python -m dissensus.bench.cell``: asked and answered in JSON."""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from dissensus.store.files import LIBC

from .remains import empty
from .synthetic import SyntheticZoo

SAMPLE_EVERY_S = 0.01
LOOK_EVERY_S = 0.5
SHORT_S = 3.0  # a shorter job runs several times
METHOD = "3"  # how jobs are measured: what older ones say of a job is something else
LEAST_RUNS, MOST_RUNS, WHOLE_S = 4, 30, 1.5  # so often, and within these until so much time has passed
WARM = 3  # models of the same job that run first, so that nothing is compiled while the clock runs


@dataclass(frozen=True)
class Cell:
    """A job at one size.

    Attributes
    ----------
    job : str
        Name in `JOBS`.
    models, examples, classes : int
        Size M x N x C.
    seed : int
        Of the zoo.
    """

    job: str
    models: int
    examples: int
    classes: int
    seed: int = 0

    @property
    def zoo(self) -> SyntheticZoo:
        """The zoo it runs on."""
        return SyntheticZoo(self.models, self.examples, self.classes, self.seed)

    @property
    def data_bytes(self) -> int:
        """Bytes of its logits in float16."""
        return 2 * self.models * self.examples * self.classes

    def __str__(self) -> str:
        return f"{self.job} at {self.models:,} x {self.examples:,} x {self.classes:,}"


@dataclass(frozen=True)
class Taken:
    """What a cell took.

    Attributes
    ----------
    seconds : float
        Wall clock of the job, compiled and imported beforehand: of the fastest run, as whatever else the
        machine does only adds to it.
    peak_memory_bytes, base_memory_bytes : int
        Most private memory (without mapped files) during the runs, and what the process held before; where
        the system does not tell these apart, of all its memory.
    read_bytes, write_bytes : int
        Traffic of the first run with the disk; cached reads are not counted, dirty pages when they are
        written. None where the system does not tell.
    runs : int
        1 where the first took `SHORT_S` or more.
    """

    seconds: float
    peak_memory_bytes: int
    base_memory_bytes: int
    read_bytes: int | None
    write_bytes: int | None
    runs: int = 1


def measure(cell: Cell, path: Path, folder: Path, limit_s: float = float("inf")) -> Taken:
    """Run a cell in a fresh process.

    Parameters
    ----------
    cell : Cell
        What is measured.
    path : Path
        Store that has its models.
    folder : Path
        Where a job that makes its own leaves it, emptied (`remains`).
    limit_s : float
        Seconds after which it is killed.

    Raises
    ------
    RuntimeError
        The job failed; the message is the last line of what it said.
    TimeoutError
        It was killed after `limit_s` seconds.
    """
    own = Path(tempfile.mkdtemp(prefix="own-", dir=folder))
    asked = json.dumps({**asdict(cell), "path": str(path), "own": str(own), "asker": os.getpid()})
    end = time.monotonic() + limit_s
    try:
        answer = _asked(asked, limit_s)
        if answer["compiled"]:  # what the compiler leaves in memory is not the job's, and is not there again
            left = end - time.monotonic()
            if left < 1:
                raise TimeoutError("the time was over once it was compiled")
            answer = _asked(asked, left)
    finally:
        empty(own)
    return Taken(**answer["taken"])


def _asked(asked: str, limit_s: float) -> dict[str, Any]:
    """What a process answers."""
    command = [sys.executable, "-m", "dissensus.bench.cell"]
    timeout = max(limit_s, 0.0) if math.isfinite(limit_s) else None
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, check=False, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"killed after {limit_s:,.0f} s, all that was left") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}"]
        raise RuntimeError(said[-1])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(cell: Cell, path: Path, own: Path) -> Taken:
    """Run a cell in this process: first small, then measured, then again where that was short.

    Stores that the job makes are left in the folder `own`, emptied.
    """
    from .jobs import job_of

    job, zoo = job_of(cell.job), cell.zoo
    few = Cell(cell.job, min(WARM, cell.models), cell.examples, cell.classes, cell.seed)
    if job.makes_store:
        zoo.settle()
        few = Cell(cell.job, few.models, min(cell.examples, 64), cell.classes, cell.seed)

    def seconds(zoo: SyntheticZoo) -> float:
        place = Path(tempfile.mkdtemp(dir=own)) / "own.zoo"
        start = time.perf_counter()
        job.run(zoo, place if job.makes_store else path)
        taken = time.perf_counter() - start
        _let_go()  # of what was mapped, before it is emptied; and no run finds more free than the first did
        empty(place)
        return taken

    seconds(few.zoo)
    before, base = _disk(), _private_bytes()
    with Peak() as peak:  # of all runs: who looks again and again misses the peak of a short one
        times = [seconds(zoo)]
        after = _disk()
        while times[0] < SHORT_S and _are_few(times):
            times.append(seconds(zoo))
    read, written = (None if a is None or b is None else a - b for a, b in zip(after, before, strict=True))
    return Taken(min(times), max(peak.bytes, base), base, read, written, len(times))


def _are_few(times: list[float]) -> bool:
    return len(times) < LEAST_RUNS or (len(times) < MOST_RUNS and sum(times) < WHOLE_S)


def _let_go() -> None:
    """Give memory back that is free but kept."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(LIBC, "malloc_trim", None)
    if trim is not None:
        trim(0)


class Peak:
    """Most private memory seen by a thread that looks again and again."""

    def __init__(self) -> None:
        self.bytes = _private_bytes()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self.bytes = max(self.bytes, _private_bytes())

    def _watch(self) -> None:
        while not self._end.wait(SAMPLE_EVERY_S):
            self.bytes = max(self.bytes, _private_bytes())


def _private_bytes() -> int:
    """Memory of its own; elsewhere than on Linux all that the process has ever had."""
    found = [_of_proc("status", name) for name in ("RssAnon", "RssShmem")]
    if found[0] is not None:
        return 1024 * sum(number or 0 for number in found)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _disk() -> tuple[int | None, int | None]:
    return _of_proc("io", "read_bytes"), _of_proc("io", "write_bytes")


def _of_proc(file: str, name: str) -> int | None:
    """Return a number that Linux keeps of this process; None elsewhere."""
    try:
        lines = Path(f"/proc/self/{file}").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def _end_with(asker: int) -> None:
    """End when the process that asked does, however that was killed: its folder is somebody else's then."""

    def watch() -> None:
        while os.getppid() == asker:
            time.sleep(LOOK_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Answer on stdout what is asked on stdin."""
    asked: dict[str, Any] = json.load(sys.stdin)
    path, own = Path(asked.pop("path")), Path(asked.pop("own"))
    _end_with(asked.pop("asker"))
    from dissensus.kernels.jit import compiling

    compiled = compiling()
    try:
        taken = run(Cell(**asked), path, own)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps({"taken": asdict(taken), "compiled": compiled()}))


if __name__ == "__main__":
    main()
