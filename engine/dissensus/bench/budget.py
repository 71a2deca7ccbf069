"""How long a sweep may take and how much disk it may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from dissensus.errors import ArgumentError

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40}
TIMES = ("s", "min", "h")


@dataclass(frozen=True)
class Budget:
    """Limits of a sweep; infinite by default.

    Attributes
    ----------
    seconds : float
        Wall clock of the whole sweep.
    disk_bytes : float
        Most bytes of stores at one time.
    """

    seconds: float = float("inf")
    disk_bytes: float = float("inf")

    @classmethod
    def of(cls, text: str) -> Self:
        """Read "30 min", "20 GiB" or both, with a comma between.

        Raises
        ------
        ArgumentError
        """
        given: dict[str, float] = {}
        for part in text.split(","):
            found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", part)
            unit = found[2].lower() if found else ""
            if not found or unit not in UNITS:
                raise ArgumentError(
                    f"budget {text!r} is no time and no size: write for example 30min, 20GiB, or 30min,20GiB "
                    "(s, min, h; MiB, GiB, TiB)"
                )
            what = "seconds" if unit in TIMES else "disk_bytes"
            if what in given:
                raise ArgumentError(
                    f"budget {text!r} names two {'times' if unit in TIMES else 'sizes'}; give one"
                )
            given[what] = float(found[1]) * UNITS[unit]
        return cls(**given)
