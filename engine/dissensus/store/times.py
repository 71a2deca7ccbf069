"""Moments and versions as they are written into the store."""

from __future__ import annotations

import platform
import time

import numpy as np
import pyarrow as pa


def now() -> str:
    """This moment, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def software() -> dict[str, str]:
    """Versions of what writes a store; whoever runs a model adds its own."""
    from dissensus import __version__

    return {
        "dissensus": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
    }
