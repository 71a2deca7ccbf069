"""How results leave: a table for people; JSON, CSV and Parquet for programs; to stdout or to a file."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dissensus.errors import ArgumentError

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("table", "json", "csv", "parquet", "arrow")
BINARY = ("parquet", "arrow")  # not for stdout
GAP = 2  # spaces between columns of a table
FILE_WIDTH, PIPE_WIDTH = 160, 100  # of tables in files and pipes; text may be cut, names and numbers not
INTERVAL = re.compile(r"–|-?[\d.]+ \[.*\]")  # a number with its bounds
LEAST_ROOM = 80  # columns of a terminal below which nothing is left out
LEAST_NAME = 12  # characters to which long names are shortened


def output_options(command: Callable[..., Any], formats: Sequence[str] = FORMATS) -> Callable[..., Any]:
    """Add ``--format``, ``--out`` and ``--force`` to a query."""
    options = (
        click.option(
            "--format",
            "fmt",
            type=click.Choice(formats),
            help="[default: by the ending of --out, else table]",
        ),
        click.option("--out", type=click.Path(path_type=Path), help="Write to this file."),
        click.option("--force", is_flag=True, help="Overwrite the file of --out."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Sink:
    """Where a result goes; checked before any work is done.

    Parameters
    ----------
    fmt : str or None
        Form of the result; None goes by the ending of `out`, else it is the first of `formats`.
    out : Path or None
        File to write; stdout for None.
    force : bool
        Overwrite an existing file.
    formats : sequence of str
        Forms there are, the default first.
    """

    def __init__(
        self, fmt: str | None, out: Path | None, force: bool, formats: Sequence[str] = FORMATS
    ) -> None:
        ending = "" if out is None else out.suffix.removeprefix(".").lower()
        endings = [*(f for f in formats if f != "table"), *(["txt"] if "table" in formats else [])]
        if fmt is None and ending not in ("", "table", *endings):
            named = f".{', .'.join(endings[:-1])} or .{endings[-1]}"
            other = ", or name the format with --format" if "table" in formats else ""
            raise ArgumentError(
                f"--out {out}: no format is called {ending!r}; end the name in {named}{other}"
            )
        self.fmt = fmt or (ending if ending in formats else formats[0])
        self.out = out
        if out is None:
            if fmt in BINARY:
                raise click.UsageError(f"--format {fmt} is binary: name a file with --out FILE")
            if force:
                raise click.UsageError("--force goes with --out FILE")
            return
        if out.is_dir():
            raise ArgumentError(
                f"--out {out} is a folder that exists already; choose another name or remove it"
            )
        if os.path.lexists(out) and not force:
            raise ArgumentError(f"--out {out} exists already; choose another file or pass --force")
        if not out.absolute().parent.is_dir():
            raise ArgumentError(f"--out {out}: there is no folder {out.parent}; make it first")
        if not os.access(out.absolute().parent, os.W_OK):
            raise ArgumentError(f"--out {out} cannot be written: no permission to write in {out.parent}")

    def table(self, table: pa.Table, title: str = "", record: Any = None) -> None:
        """Send a table; `record` is what JSON shows instead of its rows."""
        forms: dict[str, Callable[[], str | bytes]] = {
            "table": lambda: render(table, title, to_file=self.out is not None),
            "json": lambda: to_json(table.to_pylist() if record is None else record),
            "csv": lambda: to_csv(table),
            "parquet": lambda: to_parquet(table),
            "arrow": lambda: to_arrow(table),
        }
        self.send(forms[self.fmt]())

    def send(self, data: str | bytes) -> None:
        """Write text or bytes: to stdout, or to the file in one step, durably."""
        if self.out is None:
            click.echo(data, nl=False)
            return
        from dissensus.store.files import write_file

        write_file(self.out, data.encode() if isinstance(data, str) else data)
        click.echo(f"wrote {self.out}", err=True)


def to_json(record: Any) -> str:
    """JSON with null for what is undefined."""
    return json.dumps(_plain(record), indent=2, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(table: pa.Table) -> str:
    """CSV with a header; full precision, nothing for null."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=1 << 14):  # as Python objects, a million rows are a GB
        for row in batch.to_pylist():
            writer.writerow([json.dumps(v) if isinstance(v, list | dict) else v for v in row.values()])
    return sink.getvalue()


def to_parquet(table: pa.Table) -> bytes:
    """Parquet bytes."""
    import pyarrow as pa
    import pyarrow.parquet

    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def to_arrow(table: pa.Table) -> bytes:
    """Bytes of an Arrow IPC file."""
    from dissensus.store.tables import arrow_bytes

    return arrow_bytes(table)


def render(table: pa.Table, title: str = "", *, to_file: bool = False) -> str:
    """Text table: numbers to the right, four digits, a dash for null; numbers are never broken.

    On a terminal long texts and then long names are shortened, and what still finds no room is named below.
    """
    from rich.table import Table
    from rich.text import Text

    room = FILE_WIDTH if to_file else screen_width(PIPE_WIDTH)
    cells = {name: [cell(v) for v in table[name].to_pylist()] for name in table.column_names}
    numbers = {name for name in cells if table[name].type in _number_types()}
    figures = numbers | {name for name, texts in cells.items() if all(map(INTERVAL.fullmatch, texts))}
    wanted = {name: _widths(name, texts, name in figures) for name, texts in cells.items()}
    widths = _fit(wanted, room)
    is_terminal = not to_file and sys.stdout.isatty()
    if is_terminal:
        widths = _shown(_shortened(widths, figures, room), max(room, LEAST_ROOM))
    view = Table(box=None, pad_edge=False, header_style="bold")
    for name, width in widths.items():
        justify: Any = "right" if name in numbers else "left"
        view.add_column(name.replace("_", " "), justify=justify, width=width)
    for row in zip(*(cells[name] for name in widths), strict=True):
        texts = (_cut(text, width, name) for text, (name, width) in zip(row, widths.items(), strict=True))
        view.add_row(*(Text(text, no_wrap=True, overflow="ellipsis") for text in texts))
    body = print_wide(view, sum(widths.values()) + GAP * len(widths), room=room, is_terminal=is_terminal)
    hidden = [name for name in cells if name not in widths]
    more = f"\nNo room for {', '.join(hidden)}: see --format json or a wider terminal\n" if hidden else ""
    return (f"{title}\n\n" if title else "") + body + more


def table_width(table: pa.Table) -> int:
    """Characters that a text table wants, nothing shortened."""
    texts = {name: map(cell, table[name].to_pylist()) for name in table.column_names}
    return _total({name: max(len(name), *map(len, some), 0) for name, some in texts.items()})


def _is_name(name: str) -> bool:
    return name in ("member", "example_id") or name.startswith(("model", "partner"))


def _widths(name: str, texts: Sequence[str], is_number: bool) -> tuple[int, int]:
    """What a column wants, and what it cannot go below: names and numbers whole, a header's longest word."""
    header, longest = name.split("_"), max(map(len, texts), default=0)
    kept = name in ("by", "category", "error", "problem", "property", "sample", "value")
    whole = is_number or kept or _is_name(name)
    least = max(*map(len, header), longest if whole else min(longest, 8))
    return max(len(name), longest), least


def _fit(widths: Mapping[str, tuple[int, int]], room: int) -> dict[str, int]:
    """Widths within the screen where possible: taken from the columns that can give most."""
    chosen = {name: wanted for name, (wanted, _) in widths.items()}
    excess = _total(chosen) - room
    for name in sorted(widths, key=lambda name: widths[name][1] - widths[name][0]):
        give = max(0, min(excess, chosen[name] - widths[name][1]))
        chosen[name] -= give
        excess -= give
    return chosen


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + GAP * len(widths)


def _shortened(widths: Mapping[str, int], figures: set[str], room: int) -> dict[str, int]:
    """Widths with texts and names shortened too, the longest first, where a table is wider than its room."""
    chosen = dict(widths)
    while _total(chosen) > room:
        open_ = [name for name in chosen if name not in figures and chosen[name] > LEAST_NAME]
        if not open_:
            break
        longest = max(open_, key=lambda name: chosen[name])
        chosen[longest] -= 1
    return chosen


def _shown(widths: dict[str, int], room: int) -> dict[str, int]:
    """Columns that find room, from the first on; the first two at any width."""
    chosen = dict(widths)
    while len(chosen) > 2 and _total(chosen) > room:
        chosen.popitem()
    return chosen


def _cut(text: str, width: int, name: str) -> str:
    """Name without its middle: models of a zoo differ at the end."""
    if len(text) <= width or not _is_name(name):
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def cell(value: Any) -> str:
    """One value as people read it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        if 0 < abs(value) < 1e-3:
            return f"{value:.3g}"
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def print_wide(view: Any, least: int, *, room: int | None = None, is_terminal: bool | None = None) -> str:
    """Text of a rich object, as wide as the terminal (100 without one) but never narrower than `least`."""
    from rich.console import Console

    room = screen_width(PIPE_WIDTH) if room is None else room
    is_terminal = sys.stdout.isatty() if is_terminal is None else is_terminal
    sink = io.StringIO()
    options: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
    console = Console(file=sink, force_terminal=is_terminal, width=max(room, least), **options)
    console.print(view, soft_wrap=False)
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def screen_width(otherwise: int) -> int:
    """Columns of the terminal that stdout is, else of stderr's: that of a pager; else a given number."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal, or closed
        return otherwise


def _number_types() -> tuple[Any, ...]:
    import pyarrow as pa

    return (pa.int32(), pa.int64(), pa.float32(), pa.float64())
