"""How long does the whole demo take from nothing, and what does it find?

Runs `dissensus demo` in a fresh folder as a user would, times it, and keeps everything it printed.

    python benchmarks/demo.py [--data fashion-mnist] [--folder DIR]

The result is written to results/<machine>-demo-<data>.json beside this file; the README quotes it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import write_result
from measuring import begin, options


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--folder", type=Path, help="keep weights and store here; must not exist")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=arguments.folder is None)
    frame, start = begin(__doc__), time.perf_counter()
    output = ask("demo", "--data", arguments.data, folder=folder)
    seconds = time.perf_counter() - start
    store = f"demo-{arguments.data}/{arguments.data}.zoo"
    report = {
        **frame,
        "command": f"dissensus demo --data {arguments.data}",
        "minutes": round(seconds / 60, 2),
        "models": json.loads(ask("info", store, "--format", "json", folder=folder))["models"],
        "output": output,
    }
    print(output)
    path = write_result(arguments.out, f"demo-{arguments.data}", report)
    print(f"{report['minutes']} minutes; written to {path}")
    if arguments.folder is None:
        shutil.rmtree(folder)


def ask(*arguments: str, folder: Path) -> str:
    """What a command of the installed package prints; its progress goes where ours does."""
    command = [sys.executable, "-m", "dissensus_cli", *arguments]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
