"""Reproduces every figure of speed in the READMEs: measures what is missing or old, then renders them.

    python benchmarks/all.py --plan            # what would run, how long, what it needs, what is there
    python benchmarks/all.py                   # run it: two hours on two quiet cores, 52 GB below --dir
    python benchmarks/all.py --only pair store # some of them
    python benchmarks/all.py --again           # all anew

Steps with peers run in their environment (`python benchmarks/peers.py make`) where it is made; else these
opponents are left out by name. A step for which the disk has no room does not run, and is named before and at
the end; the sweep leaves only its largest sizes out, and its table says so. A result of this machine with
these versions that is at most --days old is kept, so that the command goes on where it was broken off. A step
in which something was compiled while the clock ran is run again; one that fails is named at the end, and the
others run. What is not about speed has its own command: `storage.py` (after the demo) and
`python -m tests.faults --full`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from machine import machine_name, result_path, versions
from measuring import AGAIN, RESULTS
from peers import PLACE

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Step:
    """A benchmark whose figures a README states.

    Attributes
    ----------
    name : str
        Of its result.
    command : str
        Script and arguments.
    minutes : float
        What it takes on two quiet cores.
    disk_gb : float
        What it has on the disk at most, deleted at its end; nothing worth telling by default.
    writes : bool
        Whether it takes --dir.
    folder : str
        Where it keeps measurements to go on from, below --dir where that is given.
    peers : bool
        Whether it runs in the environment of the peers, where there is one: those elsewhere are left out.
    """

    name: str
    command: str
    minutes: float
    disk_gb: float = 0
    writes: bool = True
    folder: str = ""
    peers: bool = False

    @property
    def python(self) -> Path:
        """The interpreter that runs it."""
        own = PLACE / "bin" / "python"
        return own if self.peers and own.exists() else Path(sys.executable)


STEPS = (
    Step("pair-counts", "pair_counts.py", 0.5, writes=False),
    Step("comparisons", "comparisons.py", 4, 3, peers=True),
    Step("scaling", "comparisons.py --scaled", 3, 1, peers=True),
    Step("pair-queries", "pair_queries.py", 3, 12),
    Step("pair-ensembles", "pair_ensembles.py", 3, writes=False),
    Step("pair-scale", "pair_scale.py", 1.5, 5),
    Step("pair-workers", "pair_workers.py", 2.5, 0.3),
    Step("greedy", "greedy.py", 1.5, writes=False),
    Step("greedy-peers", "greedy_peers.py", 3, writes=False, peers=True),
    Step("explain", "explain.py", 2, 0.6),
    Step("store-speed", "store_speed.py", 2, 4),
    Step("imports", "imports.py", 0.5),
    Step("ingest-memory", "ingest_memory.py", 1, writes=False),
    Step("ingest-speed", "ingest_speed.py --only stream shared", 4),
    Step("predictions", "predictions.py", 6, writes=False),
    Step("full-store", "full_store.py", 8, 10.5),  # these three make their store, one after the other
    Step("study", "study.py", 8, 10.7),
    Step("sweep", "sweep.py --minutes 60", 45, 52, writes=False, folder="large-sweep"),
    Step("demo-digits", "demo.py --data digits", 2, writes=False),
    Step("demo-fashion-mnist", "demo.py --data fashion-mnist", 19, writes=False),
)


def main() -> None:
    arguments = parse_arguments()
    steps = [step for step in STEPS if chosen(step, arguments.only)]
    if not steps:
        raise SystemExit(
            f"no benchmark is called {' or '.join(arguments.only)}: {', '.join(s.name for s in STEPS)}"
        )
    if arguments.dir and not arguments.dir.is_dir():
        raise SystemExit(f"--dir {arguments.dir} is no folder: make it, or name another")
    left = [step for step in steps if arguments.again or not is_there(step, arguments)]
    print("\n".join(planned(steps, left, arguments)))
    if arguments.plan:
        return
    failed = [step.name for step in left if not (has_room(step, arguments) and done(step, arguments))]
    rendered = not failed and arguments.out == RESULTS
    if rendered:
        for script in ("pictures.py", "readme.py"):
            subprocess.run([sys.executable, HERE / script], check=True)
    print("READMEs rendered" if rendered else "READMEs left as they are")
    if failed:
        raise SystemExit(f"not done: {', '.join(failed)}; run the same command again for these")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="parts of names")
    parser.add_argument("--plan", action="store_true", help="tell what would run, and do nothing")
    parser.add_argument("--again", action="store_true", help="measure also what is there")
    parser.add_argument("--days", type=int, default=1, help="how old a result may be that is kept")
    parser.add_argument("--dir", type=Path, help="where to write stores; the temporary folder by default")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    return parser.parse_args()


def chosen(step: Step, parts: list[str]) -> bool:
    return not parts or any(part in step.name for part in parts)


def is_there(step: Step, arguments: argparse.Namespace) -> bool:
    """Whether a result of this machine and these versions is young enough."""
    path = result_path(arguments.out, step.name)
    if not path.exists():
        return False
    report = json.loads(path.read_text())
    same = step.peers or all(report["versions"].get(name) == value for name, value in versions().items())
    age = datetime.date.today() - datetime.date.fromisoformat(report["date"])
    return same and report["machine"] == machine_name() and age.days <= arguments.days


def planned(steps: list[Step], left: list[Step], arguments: argparse.Namespace) -> Iterator[str]:
    for step in steps:
        state = f"about {step.minutes:g} min" if step in left else "there already"
        disk = f"{step.disk_gb:g} GB" if step.disk_gb else ""
        needs = "peers" if step.peers else ""
        yield f"{step.name:20}{state:16}{disk:>8}  {needs:7}python benchmarks/{step.command}"
    yield f"{len(left)} of {len(steps)} left, about {sum(step.minutes for step in left):.0f} minutes in all"
    if any(step.peers for step in left):
        missing = "not made, so that they are left out by name: python benchmarks/peers.py make"
        yield f"environment of the peers: {'made' if PLACE.exists() else missing}"
    for step in left:
        if step.disk_gb > (free := free_gb(step, arguments)):
            what = "leaves its largest sizes out" if step.folder else "does not run"
            yield f"{step.name} {what}: {step.disk_gb:g} GB needed, {free:.1f} GB free: another --dir"


def has_room(step: Step, arguments: argparse.Namespace) -> bool:
    """Whether the disk has room for it; a sweep measures the sizes that fit."""
    return bool(step.folder) or step.disk_gb <= free_gb(step, arguments)


def free_gb(step: Step, arguments: argparse.Namespace) -> float:
    """Gigabytes that are free where a step writes: a sweep here, by default."""
    place = arguments.dir or (Path.cwd() if step.folder else Path(tempfile.gettempdir()))
    return shutil.disk_usage(place).free / 1e9


def done(step: Step, arguments: argparse.Namespace) -> bool:
    """Run a benchmark; whether it came to its end."""
    script, *options = step.command.split()
    command = [str(step.python), str(HERE / script), *options, "--out", str(arguments.out)]
    if step.writes and arguments.dir:
        command += ["--dir", str(arguments.dir)]
    if step.folder and arguments.dir:
        command += ["--folder", str(arguments.dir / step.folder)]
    start = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    if code == AGAIN:
        code = subprocess.run(command, check=False).returncode
    print(
        f"{step.name}: {'done' if code == 0 else 'FAILED'} in {time.perf_counter() - start:.0f} s", flush=True
    )
    return code == 0


if __name__ == "__main__":
    main()
