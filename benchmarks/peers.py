"""Makes an environment with the opponents whose requirements are heavy or in conflict, beside this one.

    python benchmarks/peers.py make      # some minutes, 1 GB, from the package index
    .peers/bin/python benchmarks/comparisons.py
    python benchmarks/peers.py           # which opponents are here, which are not

It holds Dissensus itself with what it needs, and the packages below; without it these opponents are left out
by name. Versions are those that the comparisons were written for.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

PEERS = {  # module: what pip installs
    "torchmetrics": "torchmetrics>=1.4",
    "sklearn": "scikit-learn>=1.4",
    "scipy": "scipy>=1.11",
    "pandas": "pandas>=2.1",
    "autogluon.core": "autogluon.core==1.6.3",
}
ALONE = {"tabarena": "tabarena==0.1.0"}  # without its requirements, which conflict
HERE = Path(__file__).parent
ROOT = HERE.parent
PLACE = ROOT / ".peers"


def main() -> None:
    if sys.argv[1:] == ["make"]:
        make(PLACE)
    elif sys.argv[1:]:
        raise SystemExit("usage: python benchmarks/peers.py [make]")
    here, there = found(Path(sys.executable)), found(PLACE / "bin" / "python")
    print(
        f"{'':28}{'here':10}{PLACE.name if PLACE.exists() else 'not made: python benchmarks/peers.py make'}"
    )
    for module, package in (PEERS | ALONE).items():
        print(f"{package:28}{'yes' if module in here else 'no':10}{'yes' if module in there else 'no'}")


def make(place: Path) -> None:
    """Install everything into a new environment; one that is there is completed."""
    venv.create(place, with_pip=True)
    packages = [f"{ROOT}[demo,plots]", *PEERS.values()]
    install = [place / "bin" / "python", "-m", "pip", "install"]
    subprocess.run([*install, *packages], check=True)
    subprocess.run([*install, "--no-deps", *ALONE.values()], check=True)


def found(python: Path) -> list[str]:
    """Those of the modules that this interpreter finds; none where there is no such interpreter."""
    if not python.exists():
        return []
    look = "from peers import *; print(*filter(is_there, PEERS | ALONE))"
    told = subprocess.run([python, "-c", look], cwd=HERE, check=True, stdout=subprocess.PIPE, text=True)
    return told.stdout.split()


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of the package around it
        return False


if __name__ == "__main__":
    main()
