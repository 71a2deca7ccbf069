"""The benchmarks run, so that they cannot rot; the others are with what they measure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SMALL = ["--examples", "600", "--classes", "20", "--models", "2", "--listed", "5", "--predicted", "9"]


def test_the_benchmark_of_the_store_runs_small(tmp_path):
    command = [sys.executable, BENCHMARKS / "store_speed.py", *SMALL, "--repeats", "1", "--out", tmp_path]
    done = subprocess.run([*command, "--dir", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(next(tmp_path.glob("*-store-speed.json")).read_text())
    assert report["equal_results"]
    assert {"write", "read, cached", "read, cold", "verify, cold", "fresh process"} <= report[
        "median_s"
    ].keys()
    assert all(target["found"] > 0 for target in report["targets"].values())
    assert report["model_bytes"]["dissensus"] > 2 * 600 * 20
    assert [path.name for path in tmp_path.iterdir()] == [next(tmp_path.glob("*.json")).name]
