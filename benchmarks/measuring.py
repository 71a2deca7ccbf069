"""How times are taken, and what every report says of them: shared by the benchmarks."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from machine import machine_name, versions

RESULTS = Path(__file__).parent / "results"
AGAIN = 75  # exit status of a run that may succeed when it is repeated (EX_TEMPFAIL of sysexits.h)


def options(doc: str | None, *, writes: bool = False, **sizes: int) -> argparse.ArgumentParser:
    """What every benchmark can be told: sizes by name, where the result goes, and where files are made."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    for name, size in sizes.items():
        told = f"{size:,} by default"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size, help=told)
    if writes:
        parser.add_argument("--dir", type=Path, help="where to write; the temporary folder by default")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    return parser


def sweep_options(doc: str | None, folder: str, **lists: str) -> argparse.ArgumentParser:
    """What a benchmark that sweeps can be told: sizes and jobs as `25,50,100`, and where it goes on."""
    parser = options(doc)
    for name, default in lists.items():
        parser.add_argument(f"--{name}", default=default, metavar="A,B,…", help=f"{default} by default")
    parser.add_argument("--folder", type=Path, default=Path(folder), help="keeps measurements")
    parser.add_argument("--minutes", type=float, default=30, help="most that measuring may take")
    return parser


def begin(doc: str | None) -> dict[str, Any]:
    """What a report says of where and when; called before the work, which would be load."""
    return {
        "question": (doc or "").splitlines()[0],
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": machine_name(),
        "date": time.strftime("%Y-%m-%d"),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions(),
    }


def finish(frame: dict[str, Any], **found: Any) -> dict[str, Any]:
    """Report of what was found; a benchmark whose results differ does not come here."""
    return {**frame, "equal_results": True, **found}


def kept(
    path: Path, frame: Mapping[str, Any], stay: Callable[[dict[str, Any]], Collection[str]], **sizes: Any
) -> dict[str, Any]:
    """The result of an earlier run whose parts may stand beside those of this one; else an empty one.

    Parts are joined where machine, threads and versions are the same, and all sizes that the result tells.
    A report that takes a part over bears the day of the oldest (`first_day`). Asked before anything is
    measured: a run ends here that would lose parts which it does not measure itself, named by `stay`.
    """
    report: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    differing = list(_differing(report, frame, sizes)) if report else []
    if differing and (lost := stay(report)):
        raise SystemExit(
            f"{path} was measured with {'; '.join(differing)}: its other parts ({shortly(lost)}) cannot "
            "stand beside this run's and would be lost. Measure all of it, without choosing parts, or write "
            "to another folder (--out)"
        )
    return {} if differing else report


def _differing(report: dict[str, Any], frame: Mapping[str, Any], sizes: dict[str, Any]) -> Iterator[str]:
    """What a kept result was measured with that is another now."""
    same = {name: frame[name] for name in ("machine", "threads")} | sizes
    for name, now in same.items():
        if name not in report or report[name] != now:
            yield f"{name} {report.get(name, 'not told')}, now {now}"
    before, now = report.get("versions", {}), frame["versions"]
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield f"{name} {before.get(name, 'absent')}, now {now.get(name, 'absent')}"


def shortly(names: Collection[str], most: int = 3) -> str:
    """Some names, and how many more there are."""
    first, more = sorted(names)[:most], len(names) - most
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")


def first_day(days: Iterable[str]) -> str:
    """The oldest of days or times: what was measured in earlier runs is told as of then."""
    return min(days)[:10]


def chosen(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Arguments that decide the size, for the report."""
    return {name: getattr(arguments, name) for name in names}


def numbers(text: str) -> list[int]:
    """Sizes that were given as `25,50,100`."""
    return [int(part) for part in text.split(",")]


def timed(job: Callable[[], Any]) -> float:
    """Seconds that a job takes in which nothing is compiled."""
    with nothing_compiled():
        start = time.perf_counter()
        job()
        return time.perf_counter() - start


@contextmanager
def nothing_compiled() -> Iterator[None]:
    """End the run where a kernel is compiled meanwhile, which no time may hold: it is to be asked again.

    A benchmark compiles beforehand what it times; this is the proof. What was compiled is kept by then, so
    that the second run compiles nothing (`asked`, and `all.py` for a whole benchmark). Kernels that are never
    kept, as the formula of a question about millions of pairs, are part of what is asked: their time counts.
    """
    from numba.core import caching, event

    with event.install_recorder("numba:compile") as seen:
        yield
    compiled = [one.data["dispatcher"] for _, one in seen.buffer]
    names = {one.py_func.__qualname__ for one in compiled if not isinstance(one._cache, caching.NullCache)}
    if names:
        compiled_meanwhile(shortly(names))


def compiled_meanwhile(what: str) -> NoReturn:
    """End the run: a time holds the compiling of something."""
    print(f"compiled while the clock ran: {what}. Run it again: that is kept now", file=sys.stderr)
    raise SystemExit(AGAIN)


def asked(command: Sequence[str]) -> str:
    """What a part of a benchmark prints in a process of its own, asked again where something was compiled."""
    for _ in range(2):
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != AGAIN:
            break
    if done.returncode:
        raise SystemExit(f"{Path(command[1]).name} failed in a process of its own, status {done.returncode}")
    return done.stdout


def peak_bytes() -> int:
    """Most memory that this process has had, its mapped files included.

    VmHWM begins anew with a program; ru_maxrss, taken where there is none, has what started it too.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def anonymous_bytes(pid: int) -> int:
    """Memory that a process holds of its own, mapped files not counted; 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def forget(folder: Path) -> None:
    """Drop all files below a folder from the page cache."""
    for path in files_of(folder):
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def files_of(folder: Path) -> Sequence[Path]:
    """All files below a folder."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]
