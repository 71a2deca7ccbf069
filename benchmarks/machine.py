"""What a result was measured on: shared by the benchmarks."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("numpy", "numba", "pyarrow", "scikit-learn", "timm", "torch", "zarr")


def machine_name() -> str:
    """CPU model and number of cores this process may use; no host name."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and (found := re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())):
        model = found[1]
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide speed and memory, where installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_result(folder: Path, name: str, report: Mapping[str, Any]) -> Path:
    """Write a report to `<folder>/<machine>-<name>.json` and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")
    path = folder / f"{machine}-{name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path
