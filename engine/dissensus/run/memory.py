"""How much memory may be used, and how bytes are told."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")


def available_bytes() -> int:
    """Memory a new job can take without swapping: by the system's estimate or a limit set."""
    limits = [_available_system(), _container_limit(), _address_limit()]
    return min(limit for limit in limits if limit is not None)


def peak_of(run: Callable[[], None]) -> int | None:
    """Run something and return the bytes by which this process grew at the highest meanwhile.

    What it finds free among the memory that the process holds already is not seen. The process's own record
    of its peak (VmHWM, ru_maxrss) begins anew. None where the system does not tell: it does on Linux.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = _resident("VmRSS")
    except OSError:
        run()
        return None
    run()
    return max(_resident("VmHWM") - before, 0)


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), 0)


def _available_system() -> int:
    try:
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _container_limit() -> int | None:
    """What a container may still take; the page cache it holds is given back on demand."""
    try:
        limit = (CONTAINER / "memory.max").read_text().strip()
        used = int((CONTAINER / "memory.current").read_text())
        lines = (CONTAINER / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    cached = next((int(line.split()[1]) for line in lines if line.startswith("file ")), 0)
    return None if limit == "max" else max(int(limit) - used + cached, 0)


def _address_limit() -> int | None:
    """What this process may still map where its address space is limited (`ulimit -v`)."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else max(limit - _resident("VmSize"), 0)


def told(n_bytes: float) -> str:
    """Return a number of bytes for people."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:,.0f} bytes"
