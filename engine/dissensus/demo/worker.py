"""One training process: `python -m dissensus.demo.worker ORIGIN FOLDER`, started by `crew`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .crew import serve


def main() -> None:
    """Serve recipes from stdin; whatever libraries print goes to stderr, answers alone to stdout."""
    answers, sys.stdout = sys.stdout, sys.stderr
    name, path = json.loads(sys.argv[1])
    serve((name, path), Path(sys.argv[2]), sys.stdin, answers)


if __name__ == "__main__":
    main()
