"""Looking after a store: verify, repair, copy, migrate, remove."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import Sink, output_options
from .queries import STORE

if TYPE_CHECKING:
    from dissensus.store.repair import RepairReport
    from dissensus.store.verify import VerifyReport


@click.command()
@STORE
@click.option(
    "--quick",
    is_flag=True,
    help="All names and sizes, checksums of small files; flipped bits in logits are not found.",
)
@output_options
def verify(store: Path, quick: bool, fmt: str | None, out: Path | None, force: bool) -> None:
    """Check every file of a store against what was committed; exit status 1 if anything is damaged.

    All checksums are computed, in parallel. A model that may not be read is named, and the others checked.

    \b
    Example:
      dissensus verify demo-digits/digits.zoo
    """
    import pyarrow as pa

    import dissensus as ds
    from dissensus.run.progress import Progress

    sink, opened = Sink(fmt, out, force), ds.open(store)
    with Progress(opened.size_bytes(), "bytes verified", enabled=not quick) as bar:
        report = opened.verify(quick=quick, advance=bar.advance)
    rows = {name: [getattr(f, name) for f in report.findings] for name in ("model", "problem")}
    rate = report.checked_bytes / max(report.seconds, 1e-9)
    models = "model" if report.n_models == 1 else "models"
    summary = (
        f"{report.n_models:,} {models}, {report.checked_bytes / 1e6:,.1f} MB checked in "
        f"{report.seconds:.2f} s ({rate / 1e9:.2f} GB/s): {_verdict(store, report)}"
    )
    record = {
        "ok": report.ok,
        "models": report.n_models,
        "checked_bytes": report.checked_bytes,
        "seconds": report.seconds,
        "quick": report.quick,
        "problems": [{"model": f.model, "problem": f.problem} for f in report.findings],
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()})
    if sink.fmt == "table" and report.ok:
        sink.send(summary + "\n")
    else:
        sink.table(table, summary, record)
    sys.exit(0 if report.ok else 1)


def _verdict(store: Path, report: VerifyReport) -> str:
    """What was found, and the command that goes on from there."""
    if report.ok:
        return "sizes and small files are sound, logits were not read" if report.quick else "sound"
    n, hidden = len(report.findings), sum(f.unreadable for f in report.findings)
    some = [f"{n} problem{'s' * (n != 1)}"]
    if hidden:
        some.append(f"{hidden} not readable: check permissions and the disk")
    if hidden < n:
        some.append(f"`dissensus repair {store}` mends what can be proven right and sets the rest aside")
    return "; ".join(some)


@click.command()
@STORE
@click.argument("models", nargs=-1, required=True)
def remove(store: Path, models: tuple[str, ...]) -> None:
    """Take models out of a store; their files are deleted.

    \b
    Example:
      dissensus remove my.zoo resnet18.a1_in1k
    """
    import dissensus as ds

    opened = ds.open(store, damaged="skip")  # a damaged model is what one may want to remove
    for model_id in models:  # all names are looked at before one is taken out
        opened.require(model_id)
    for model_id in dict.fromkeys(models):
        opened.remove(model_id)
        click.echo(f"removed {model_id}")


@click.command()
@STORE
@click.option("--clear-staging", is_flag=True, help="Drop unfinished models too, which could be resumed.")
@output_options
def repair(store: Path, clear_staging: bool, fmt: str | None, out: Path | None, force: bool) -> None:
    """Mend what can be proven right, set aside what cannot, tidy up after killed writers.

    Zarr metadata, block indices and checksums between blocks are rebuilt and must then have their committed
    checksum. A model that still does not verify moves to STORE/quarantine, with a note of its sound rows.
    Exit status 1 if the store does not verify afterwards.

    \b
    Example:
      dissensus repair demo-digits/digits.zoo
    """
    import pyarrow as pa

    import dissensus as ds

    sink = Sink(fmt, out, force)
    report = ds.open(store, damaged="skip").repair(clear_staging=clear_staging)
    columns = {name: [getattr(a, name) for a in report.actions] for name in ("model", "action", "detail")}
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    if sink.fmt == "table":
        sink.send(_told(report))
    else:
        sink.table(table, record={"ok": report.ok, "actions": table.to_pylist()})
    sys.exit(0 if report.ok else 1)


def _told(report: RepairReport) -> str:
    """What a repair did, an action a paragraph: a table would cut the details, which one needs."""
    state = "the store verifies" if report.ok else "the store does NOT verify"
    lines = [f"{a.action}: {a.model or 'the store'}\n  {a.detail}" for a in report.actions]
    counts = Counter(action.action for action in report.actions)
    done = ", ".join(f"{n} {name}" for name, n in counts.items()) or "nothing to repair"
    if not report.ok:
        state += ": `dissensus verify` names what is left"
    return "\n".join([*lines, f"{done}; {state}", ""])


@click.command()
@STORE
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, help="Copy these models only; repeatable.")
@click.option(
    "--codec",
    type=click.Choice(["raw", "archive"]),
    help="How the copy keeps logits. [default: as TARGET or STORE]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Precision of the copy. [default: as TARGET or STORE]",
)
def copy(store: Path, target: Path, models: tuple[str, ...], codec: str | None, dtype: str | None) -> None:
    """Copy models with examples, labels and columns into a store TARGET, every byte verified on the way.

    TARGET is made, or completed if it is a store of the same examples: a killed copy goes on with the same
    command, and two zoos over one data set become one. --codec archive packs logits without loss. Damaged
    models are named at the end, exit status 1, and all others copied.

    \b
    Examples:
      dissensus copy demo-digits/digits.zoo two.zoo --model base --model reinit-1
      dissensus copy demo-digits/digits.zoo packed.zoo --codec archive
    """
    import dissensus as ds
    from dissensus.run.progress import Progress

    opened = ds.open(store)
    with Progress(len(models) or opened.n_models, "models copied") as bar:
        done = opened.copy(
            target,
            models or None,
            codec=codec,
            dtype=dtype,
            advance=lambda model: bar.advance(1, status=model),
        )
    if codec == "archive" and set(done.info()["kinds"]) == {"labels"}:
        click.echo("Note: --codec archive packs logits; these models have hard labels only", err=True)
    noun = "model" if done.n_models == 1 else "models"
    click.echo(f"{target}: {done.n_models:,} {noun}, {done.size_bytes() / 1e6:,.1f} MB")


@click.command()
@STORE
def migrate(store: Path) -> None:
    """Bring a store of an older format up to date; models are left as they are.

    Older stores can be read without this, but not written.

    \b
    Example:
      dissensus migrate demo-digits/digits.zoo
    """
    import dissensus as ds

    before, after = ds.migrate(store)
    click.echo(
        f"{store}: format version {before} is " + ("the newest" if before == after else f"now {after}")
    )
