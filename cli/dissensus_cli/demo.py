"""A real zoo, end to end, and the answer on the screen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .ensemble_view import summary
from .output import render

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus.demo import DemoResult


@click.command()
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits (embedded, no download), fashion-mnist, or a folder of IDX files of the MNIST family.",
)
@click.option("--path", type=click.Path(path_type=Path), help="Where Fashion-MNIST's IDX files lie.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for weights and store. [default: demo-DATA]"
)
@click.option(
    "--device", help="Where the trained models run: cpu, cuda, …  [default: CUDA where there is one]"
)
def demo(data: str, path: Path | None, out: Path | None, device: str | None) -> None:
    """Train a real zoo on this machine, stream its logits into a store, and say which models to combine.

    The zoo spans the five kinds of divergence of "No One Representation to Rule Them All": reinitialisation,
    hyper-parameters, architecture, framework, data set. Weights are kept and models are ingested from them; a
    killed demo goes on where it was. digits takes under 3 minutes on two cores, fashion-mnist under 30.

    \b
    Examples:
      dissensus demo
      dissensus demo --data fashion-mnist --out fashion
    """
    from dissensus.demo import run_demo

    result = run_demo(data, out=out, path=path, device=device)
    click.echo(report(result), nl=False)
    sys.exit(1 if result.failed else 0)


def report(result: DemoResult) -> str:
    """Everything the demo tells, as text."""
    parts = [_models(result), _categories(result), _pairs(result), summary(result.ensemble), _next(result)]
    if result.failed:
        lines = [f"  {model}: {why}" for model, why in result.failed.items()]
        parts.append("\n".join([f"{len(result.failed)} models failed and are left out:", *lines, ""]))
    return "\n".join(parts)


def _models(result: DemoResult) -> str:
    models = result.findings.models
    title = f"{models.num_rows} models of {result.data} by category, best first"
    return render(models.drop_columns("in_band"), title)


def _categories(result: DemoResult) -> str:
    band = result.findings.band
    title = (
        f"Different mistakes from the base model, {band.base} (accuracy {band.accuracy:.4f}), by category\n"
        f"means over the {band.inside} models of accuracy {band.low:.4f} to {band.high:.4f}; "
        f"{band.outside} models lie outside that band"
    )
    return render(
        result.findings.categories.drop_columns(["least_inconsistency", "largest_inconsistency"]), title
    )


def _pairs(result: DemoResult) -> str:
    title = (
        "The most complementary pairs within the band\n"
        "lowest kappa (error consistency) on the fit split; numbers are of the report split"
    )
    return render(_shorter(result.findings.pairs), title)


def _shorter(pairs: pa.Table) -> pa.Table:
    """Without the columns that the table of models has already."""
    return pairs.drop_columns(["category_a", "category_b"])


def _next(result: DemoResult) -> str:
    store = result.store.path
    if store.is_relative_to(Path.cwd()):
        store = store.relative_to(Path.cwd())
    low = int(100 * result.findings.band.low) / 100
    size = result.store.info()["size_bytes"] / 1e6
    return (
        f"The store: {store} ({len(result.store.model_ids)} models x {result.store.n_examples:,} examples, "
        f"{size:.1f} MB)\n"
        "Try next:\n"
        f"  dissensus pairs {store} --top 10 --split report --min-accuracy {low:.2f}\n"
        f"  dissensus matrix {store} --measure error_consistency --split report\n"
        f"  dissensus ensemble {store} --size 5 --metric nll --no-replacement\n"
        f"  dissensus why {store} --size 5\n"
        f"  dissensus study {store} --base {result.findings.band.base} --out {result.data}-study"
        "    (needs matplotlib)\n"
    )
