"""The paper on any zoo: its figures, tables and claims, written to a folder."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import to_json
from .queries import LABELS, STORE

if TYPE_CHECKING:
    from dissensus.explain.study import Study


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
    notes = [found.record["sample"], *found.notes]
    figures = [f"  {name}: {title}" for name, (title, _) in found.titles.items()]
    figures += [f"  {name} is left out: {why}" for name, why in found.left_out.items()]
    below = "What confounds the claims is in claims.md."
    if any(claim.is_tested for claim in found.claims):
        below = f"A claim gets the verdict that its main views (*) share. {below}\nIntervals are of 95 %."
    return "\n".join([*notes, *_claims(found), "", below, "", "Figures:", *figures]) + "\n"


def _claims(found: Study) -> list[str]:
    """Each claim with its verdict, and below it the views that decide."""
    lines, idle = list[str](), list[str]()
    untested = {claim.name: claim.needs for claim in found.claims if not claim.is_tested}
    for name, views in groupby(found.tables["claims"].to_pylist(), key=lambda row: row["claim"]):
        rows = list(views)
        if name in untested:
            idle.append(f"\nNOT TESTED  {name}: it needs {untested[name]}")
            continue
        lines += [f"\n{rows[0]['verdict'].upper()}  {name}: {rows[0]['statement']}"]
        named = [row["sample"] + ("*" if row["main"] else "") for row in rows]
        wide = max(map(len, named))
        for row, sample in zip(rows, named, strict=True):
            value = "–" if row["estimate"] is None else f"{row['estimate']:+.3f}"
            bounds = "no interval" if row["low"] is None else f"[{row['low']:+.3f}, {row['high']:+.3f}]"
            lines.append(f"  {sample:<{wide}}  {value} {bounds:<16}  {row['unit']}, n = {row['n']:,}")
    return lines + idle
