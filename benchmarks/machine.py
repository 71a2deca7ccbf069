"""What a result was measured on: shared by the benchmarks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dissensus.run.machine import machine_name as machine_name
from dissensus.run.machine import versions as versions


def write_result(folder: Path, name: str, report: Mapping[str, Any]) -> Path:
    """Write a report to `<folder>/<machine>-<name>.json` and return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")
    path = folder / f"{machine}-{name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return path
