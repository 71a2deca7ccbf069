"""What a result was measured on: shared by the benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissensus.run.machine import machine_name as machine_name
from dissensus.run.machine import versions as versions


def result_path(folder: Path, name: str) -> Path:
    """Where the result of this machine lies: `<folder>/<machine>-<name>.json`."""
    machine = re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")
    return folder / f"{machine}-{name}.json"


def write_result(folder: Path, name: str, report: Mapping[str, Any]) -> Path:
    """Write a report there and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = result_path(folder, name)
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path
