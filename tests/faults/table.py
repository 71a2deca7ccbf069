"""All faults by group: the one list that the tests, the command and the README go by.

To add a fault, write a function of a folder and an effort that returns a `Figure`, and name it here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import caches, flips, full_disk, kills, power, refusals, rivals, storm
from .acts import ACTS
from .effort import Effort
from .figures import Figure

Fault = Callable[[Path, Effort], Figure]

KILLED = "kill -9 before each system call, half-way of writes, after renames"
STORM = "kill -9 at random times"
POWER = "staged rows lost by a power cut"
FULL = "no room on the device, disk errors, short writes"
FLIPPED = "a flipped bit, in every file"
DAMAGED = "files cut, deleted, longer, foreign"
CACHE = "a damaged or foreign cache of predictions"
RIVALS = "several processes at once"
READ_ONLY = "a place that may only be read"
STRANGERS = "another format, codec, example set or weights"

GROUPS: dict[str, dict[str, Fault]] = {
    KILLED: {
        **{act.fault: partial(kills.at_every_step, act=act) for act in ACTS},
        "twice": kills.twice,
        "removed": kills.removed_after,
    },
    STORM: {"storm": storm.random_kills},
    POWER: {"power": power.power_cuts},
    FULL: {
        "tmpfs": full_disk.small_tmpfs,
        "limit": full_disk.size_limit,
        "ENOSPC": full_disk.no_room_anywhere,
        "EIO": full_disk.disk_errors,
        "short": full_disk.short_writes,
    },
    FLIPPED: {"flips": partial(flips.damaged, damage="flips")},
    DAMAGED: {name: partial(flips.damaged, damage=name) for name in flips.DAMAGES if name != "flips"},
    CACHE: {"cache": caches.damaged, "in front": caches.one_more},
    RIVALS: {
        "one id": rivals.one_id,
        "one store": rivals.one_store,
        "many ids": rivals.many_ids,
        "lock": rivals.lock_of_the_killed,
        "rebuilders": caches.rebuilders,
    },
    READ_ONLY: {
        "permission": refusals.no_permission,
        "mount": refusals.read_only_mount,
        "unreadable": refusals.unreadable,
    },
    STRANGERS: {"strangers": refusals.strangers},
}
FAULTS: dict[str, Fault] = {name: fault for faults in GROUPS.values() for name, fault in faults.items()}
