"""Check what a built wheel owns: `python tests/check_wheel.py dist/dissensus-….whl`."""

from __future__ import annotations

import sys
import zipfile

OWNED = {"dissensus", "dissensus_cli"}


def problems(wheel: str) -> list[str]:
    """What is wrong with the contents of a wheel; nothing if it is as it should be."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    info = {top for top in tops if top.endswith(".dist-info")}
    found = []
    if tops - info != OWNED or len(info) != 1:
        found.append(f"the wheel owns {sorted(tops)}, not exactly {sorted(OWNED)} and its dist-info")
    for needed in ("dissensus/py.typed", "dissensus/store/writer.py", "dissensus_cli/main.py"):
        if needed not in names:
            found.append(f"{needed} is missing")
    if not any(name.endswith("licenses/LICENSE") for name in names):
        found.append("the licence is missing")
    stray = [n for n in names if "__pycache__" in n or n.endswith((".nbi", ".nbc")) or "/tests/" in n]
    return found + [f"{name} does not belong in a wheel" for name in stray]


if __name__ == "__main__":
    for wheel in sys.argv[1:]:
        for problem in problems(wheel):
            sys.exit(f"{wheel}: {problem}")
        print(f"{wheel.rsplit('/', 1)[-1]}: owns exactly {' and '.join(sorted(OWNED))}")
