"""The paper on any zoo: its figures, tables and claims, written to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import render, to_json
from .queries import LABELS, STORE

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus.explain.study import Study

SHOWN = ("claim", "verdict", "sample", "estimate", "interval", "n", "says")


@click.command()
@STORE
@click.option("--base", required=True, help="Model that all others are compared with.")
@click.option(
    "--category",
    metavar="COLUMN",
    help="Column of `dissensus models` that says how a model was trained. [default: category, else family]",
)
@click.option(
    "--order",
    multiple=True,
    metavar="CATEGORY",
    help="Categories, the nearest to the base first; repeatable. [default: the paper's]",
)
@click.option("--group", metavar="COLUMN", help="Column of the class table with groups of classes.")
@click.option(
    "--accuracy-band",
    nargs=2,
    type=float,
    metavar="LO HI",
    help="Accuracies compared as equal, such as 0.74 0.78. [default: 0.03 around the base]",
)
@click.option(
    "--select", default="fit", show_default=True, help="Split that temperatures and ensembles come from."
)
@click.option("--report", help="Split that is reported on. [default: report; all where nothing is fitted]")
@click.option("--allow-same-split", is_flag=True, help="Permit both to share examples (too good numbers).")
@LABELS
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option("--force", is_flag=True, help="Put it in the place of an earlier study's folder.")
@click.option(
    "--format",
    "fmt",
    default="table",
    show_default=True,
    type=click.Choice(["table", "json"]),
    help="How the claims are printed.",
)
def study(
    store: Path,
    base: str,
    category: str | None,
    order: tuple[str, ...],
    group: str | None,
    accuracy_band: tuple[float, float] | None,
    select: str,
    report: str | None,
    allow_same_split: bool,
    labels: str | None,
    out: Path,
    force: bool,
    fmt: str,
) -> None:
    """Redo "No One Representation to Rule Them All" on the models of a store.

    Writes its figures as PNG and SVG, the table behind each as Parquet, and the paper's claims, tested on
    these models, as claims.md, claims.parquet and study.json; prints the claims. Models with hard labels only
    take part where that is enough. Needs matplotlib: pip install 'dissensus[plots]'.

    \b
    Examples:
      dissensus study demo-digits/digits.zoo --base base --out digits-study
      dissensus study demo-digits/digits.zoo --base base --accuracy-band 0.9 0.98 --out narrow --force
    """
    import dissensus as ds

    found = ds.study(
        ds.open(store),
        base,
        category=category,
        order=list(order) or None,
        group=group,
        accuracy_band=accuracy_band,
        select=select,
        report=report,
        allow_same_split=allow_same_split,
        labels=labels,
        out=out,
        force=force,
        progress=True,
    )
    click.echo(to_json(found.to_dict()) if fmt == "json" else _text(found), nl=False)
    click.echo(f"wrote {out}", err=True)


def _text(found: Study) -> str:
    """Claims, what is to be known of them, and what each figure finds."""
    title = "\n".join([found.record["sample"], *found.notes])
    lines = [f"  {name}: {title}" for name, (title, _) in found.titles.items()]
    lines += [f"  {name} is left out: {why}" for name, why in found.left_out.items()]
    below = (
        "A claim gets the verdict that its main views (*) share; what each claim says, the units of the\n"
        "estimates and what confounds them are in claims.md.\n\nFigures:\n"
    )
    return render(_claims(found), title, to_file=False) + below + "\n".join(lines) + "\n"


def _claims(found: Study) -> pa.Table:
    """The table of claims as people read it."""
    import pyarrow as pa

    rows, last = [], ""
    for row in found.tables["claims"].to_pylist():
        again, last = row["claim"] == last, row["claim"]
        bounds = "–" if row["low"] is None else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        rows.append(
            row
            | {"interval": bounds, "sample": row["sample"] + ("*" if row["main"] else "")}
            | ({"claim": "", "verdict": ""} if again else {})
        )
    return pa.Table.from_pylist(rows).select(SHOWN)
