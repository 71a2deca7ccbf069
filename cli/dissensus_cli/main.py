"""Entry point: the group of commands, each loaded when it is called, and errors as one line."""

from __future__ import annotations

import difflib
import importlib
import keyword
import os
import sys
import warnings
from typing import Any

import click

SECTIONS = {
    "Begin": {
        "demo": ("demo", "Train and ingest a real zoo on this machine, and answer which models to combine."),
    },
    "Fill a store": {
        "ingest": ("ingest", "Run models over labelled data and stream their logits into a store."),
        "create": ("labels", "Make an empty store for the examples of a label file."),
        "import": ("imports", "Put predictions that exist in files into a store."),
        "annotate": ("labels", "Add label sets and columns to the examples of a store, or take them away."),
    },
    "Ask": {
        "info": ("queries", "What a store holds."),
        "models": ("queries", "Models of a store with their accuracies."),
        "pairs": ("pairs", "Pairs of models, the most different first."),
        "partners": ("partners", "The best partners of every model, of any number of models."),
        "matrix": ("matrix", "One measure for all pairs, as a matrix."),
        "heatmap": ("heatmap", "One measure for all pairs, as a clustered picture."),
        "duplicates": ("duplicates", "Models that give nearly the same classes."),
    },
    "Combine": {
        "ensemble": ("ensemble", "Choose an ensemble: members, weights, held-out accuracy with an interval."),
        "calibrate": ("calibrate", "What calibration changes in every model, and in their ranking."),
        "duo": ("duo", "Weigh two models: the best pool of both, held-out numbers with an interval."),
    },
    "Explain": {
        "why": ("why", "Why an ensemble gains or does not: ledger, members, classes, and what to conclude."),
        "profiles": ("profiles", "Examples by who gets them right: hard, missed by strong models, odd."),
        "churn": ("churn", "What a new model breaks that an old one got right; the best replacement."),
        "specialisation": (
            "specialisation",
            "What each of two models is better at, and whether confidence tells.",
        ),
        "study": ("study", "The paper's figures and claims on these models, written to a folder."),
    },
    "Foresee": {
        "plan": ("forecast", "Time, memory and disk a job will take on this machine."),
        "bench": ("bench", "Measure the engine itself on synthetic zoos of any size."),
    },
    "Look after a store": {
        "verify": ("care", "Check every file of a store against what was committed."),
        "repair": ("care", "Mend or set aside what is damaged, tidy up after killed writers."),
        "copy": ("care", "Copy models into a store of their own, or pack them."),
        "migrate": ("care", "Bring a store of an older format up to date."),
        "remove": ("care", "Take models out of a store."),
    },
}
COMMANDS = {name: told for section in SECTIONS.values() for name, told in section.items()}


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a first session."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"dissensus_cli.{COMMANDS[cmd_name][0]}")
        attribute = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command: click.Command = getattr(module, attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest ones where there is none."""
        near = difflib.get_close_matches(args[0], COMMANDS, n=2)
        if args[0] not in COMMANDS and near:
            ctx.fail(f"No such command {args[0]!r}; did you mean {' or '.join(near)}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        width = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{name:{width}}", told) for name, (_, told) in commands.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dissensus")
def cli() -> None:
    """Dissensus: which of my models make different mistakes, which should I combine, and why?

    \b
    First steps:
      dissensus demo                               a real zoo, end to end, on this machine
      dissensus ingest my.zoo timm 'resnet*' --data val/ --pretrained
      dissensus ensemble my.zoo --size 5

    Results go to stdout, progress to stderr. Exit status: 0 done, 1 an error of the data or the user's,
    2 wrong usage.
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line; errors of the library become one line on stderr and exit status 1."""
    warnings.showwarning = _one_line_warning
    from dissensus.errors import DissensusError

    try:
        cli.main(args=argv, prog_name="dissensus", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        _fail("interrupted; what was written is kept, and the same command goes on from there", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # the reader has gone; nothing is left to say
        sys.exit(1)
    except (DissensusError, OSError) as error:
        _fail(" ".join(str(error).split()), 1)


def _fail(message: str, status: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(status)


def _one_line_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    click.echo(f"Warning: {message}", err=True)
