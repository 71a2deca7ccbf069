"""Which models make different mistakes: pairs, over all examples or by groups of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .grouped import EXAMPLES, WHAT, Grouped, option
from .output import Sink, output_options
from .pair_intervals import Asked, interval_options, readable
from .queries import Share, accurate, calibrated, on_examples
from .question import Question, question_options

if TYPE_CHECKING:
    import pyarrow as pa

    from dissensus import Pairs, PairsBy

PAIRS = "Which pairs are listed"
DEFAULT = ("error_inconsistency", "error_consistency")
TOP, TOP_OF_GROUP = 20, 3


@dataclass(frozen=True)
class _Listing:
    """Which pairs a table lists, and in what order.

    Attributes
    ----------
    n : int or None
        How many; None for the default.
    everything : bool
        All of them.
    by, ascending, model, max_gap
        As `Pairs.top` takes them.
    """

    n: int | None
    everything: bool
    by: str | None
    ascending: bool | None
    model: list[str] | None
    max_gap: float | None

    def table(self, found: Pairs | PairsBy, n_models: int, default: int) -> pa.Table:
        """Rows of the table, or of each group."""
        n = n_models**2 if self.everything else self.n or default
        return found.top(n, self.by, ascending=self.ascending, model=self.model, max_gap=self.max_gap)

    def title(self, pairs: Pairs, shown: int) -> str:
        """How many pairs there are, how many are shown, and of which models."""
        there = pairs.n_pairs(model=self.model, max_gap=self.max_gap)
        part = f"{there:,}" if shown == there else f"{shown:,} of {there:,}"
        named = "" if self.model is None else f" with {' or '.join(self.model)}"
        near = "" if self.max_gap is None else f" at most {self.max_gap:g} apart in accuracy"
        return f"{part} pair{'s' if there != 1 else ''} of {len(pairs.model_ids)} models{named}{near}"

    def order(self, pairs: Pairs) -> str:
        """By what they are sorted, and which come first; and which intervals they have."""
        by = self.by or pairs.measures[0]
        ascending = pairs.ascending(by) if self.ascending is None else self.ascending
        text = f"by {by.replace('_', ' ')}, {'smallest' if ascending else 'largest'} first"
        if "level" in pairs.notes:
            text += f", {100 * float(pairs.notes['level']):.4g} % intervals ({pairs.notes['ci']})"
        return text + calibrated(pairs.notes)


@click.command(cls=Grouped)
@option(
    WHAT,
    "--measure",
    "-m",
    "measures",
    multiple=True,
    help="Measure to compute; repeatable. [default: error_inconsistency, error_consistency]",
)
@option(
    PAIRS,
    "--top",
    type=click.IntRange(min=1),
    help="Pairs to list. [default: 20, or 3 with --by-group of each]",
)
@option(
    PAIRS,
    "--by",
    help="Measure, bound (<measure>_low), or test_z, null_q … to sort by. [default: the first measure]",
)
@option(
    PAIRS, "--ascending/--descending", default=None, help="Order of --by. [default: the more different first]"
)
@option(PAIRS, "--all", "everything", is_flag=True, help="List every pair.")
@option(PAIRS, "--model", "models", multiple=True, help="Only pairs of this model; repeatable.")
@option(PAIRS, "--min-accuracy", type=Share(), default=0.0, help="Only models at least this accurate.")
@option(PAIRS, "--max-gap", type=Share(), help="Largest difference of accuracy within a pair.")
@option(
    EXAMPLES,
    "--by-group",
    metavar="COLUMN",
    help="Pairs within each value of this column of the examples; counted here, without --scheduler.",
)
@interval_options
@question_options("models")
@output_options
def pairs(
    measures: tuple[str, ...],
    top: int | None,
    by: str | None,
    ascending: bool | None,
    everything: bool,
    models: tuple[str, ...],
    by_group: str | None,
    min_accuracy: float,
    max_gap: float | None,
    ci: str | None,
    level: float | None,
    draws: int | None,
    seed: int | None,
    test: str | None,
    null: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
    **about: Any,
) -> None:
    """Pairs of models, the most different first.

    Error inconsistency is the share of examples that exactly one of the two gets right; error consistency
    (kappa) corrects for what their accuracies alone would give. A weak model differs from everybody: compare
    models of like accuracy (--min-accuracy). All measures: `dissensus matrix --help`. With --labels another
    label set of the store decides what is right; examples without a right class in it are left out.

    --where chooses examples by their columns (split, label, label_name, whatever was added): comparisons
    (== != < <= > >= in), and, or, not, parentheses; text in quotes. --by-group lists the first pairs of each
    value of such a column.

    Intervals take the examples for a sample, and each covers its own pair. --test and --null give z
    (positive: more alike), p and q, the share of false discoveries among all pairs up to this one.

    \b
    Examples:
      dissensus pairs demo-digits/digits.zoo --top 10
      dissensus pairs demo-digits/digits.zoo -m error_consistency -m double_fault --split report --format json
      dissensus pairs demo-digits/digits.zoo -m error_consistency --ci delta --by error_consistency_high
      dissensus pairs demo-digits/digits.zoo -m error_consistency --null --by null_z
      dissensus pairs demo-digits/digits.zoo -m capa -m same_wrong
      dissensus pairs demo-digits/digits.zoo -m improvement -m conversion_rate --split report --calibrate fit
      dissensus pairs demo-digits/digits.zoo --where 'label in (3, 8)' --model base --max-gap 0.02
      dissensus pairs demo-digits/digits.zoo --by-group label --top 1
    """
    import dissensus as ds

    if everything and top is not None:
        raise click.UsageError("--all lists every pair, --top some of them: pass one")
    asked = Asked(ci, level, draws, seed, test, null)
    sink = Sink(fmt, out, force)
    names = list(measures) or list(DEFAULT)
    needed = None if by is None else asked.measure_of(by)
    if needed is not None and needed not in names:
        names.append(needed)
    if by_group is not None and about["scheduler"] is not None:
        raise click.UsageError("--by-group counts here: leave --scheduler out")
    question = Question.of(**about)
    if models:
        question.store.resolve(models)  # a wrong name is told before the work
    chosen = accurate(question.store, min_accuracy, question.split, question.where)
    question = replace(question, models=chosen)
    listing = _Listing(top, everything, by, ascending, list(models) or None, max_gap)
    if by_group is None:
        result = asked.tested(question.pairs(names, **asked.intervals))
        table, undefined, n = (
            listing.table(result, len(result.model_ids), TOP),
            result.undefined,
            result.counts.n,
        )
        title = listing.title(result, table.num_rows)
    else:
        groups = ds.pairwise_by(question.store, names, by_group, **question.asked, **asked.intervals)
        table, result, undefined = _by_group(groups, asked, listing)
        n = sum(groups.sizes.values())
        title = (
            f"{table.num_rows:,} pair{'s' if table.num_rows != 1 else ''} of {len(result.model_ids)} models"
        )
        title += f" in {len(groups)} group{'s' if len(groups) != 1 else ''} by {by_group}"
    title += f" on {on_examples(question.store, n, question.split, question.where)}, {listing.order(result)}"
    for name, count in undefined.items():
        if count:
            click.echo(f"Note: {name} is undefined for {count:,} pairs", err=True)
    sink.table(readable(table) if sink.fmt == "table" else table, title)


def _by_group(groups: PairsBy, asked: Asked, listing: _Listing) -> tuple[pa.Table, Pairs, dict[str, int]]:
    """Table of all groups, the pairs of the last, and how many are undefined in all."""
    undefined: Counter[str] = Counter()
    last: list[Pairs] = []

    def tested(pairs: Pairs) -> Pairs:
        last[:] = [asked.tested(pairs)]
        undefined.update(pairs.undefined)
        return last[0]

    table = listing.table(groups.map(tested), groups.n_models, TOP_OF_GROUP)
    return table, last[0], undefined
