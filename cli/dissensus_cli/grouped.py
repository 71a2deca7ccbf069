"""Commands with many options: their help in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

WHAT, EXAMPLES, HONEST = "What", "Which examples count", "Honesty"
RUNS, OTHER = "Where it runs", "Output"

Command = TypeVar("Command", bound=Callable[..., Any])


class Grouped(click.Command):
    """A command whose options are shown under the titles of their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group, in the order in which they appear; those of output last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                groups.setdefault(getattr(parameter, "group", OTHER), []).append(record)
        for title, records in sorted(groups.items(), key=lambda group: group[0] == OTHER):
            with formatter.section(title):
                formatter.write_dl(records)


class GroupedOption(click.Option):
    """An option of a group.

    Parameters
    ----------
    group
        Title in the help.
    """

    def __init__(self, *declarations: Any, group: str = OTHER, **settings: Any) -> None:
        self.group = group
        super().__init__(*declarations, **settings)


def option(group: str, *declarations: str, **settings: Any) -> Callable[[Command], Command]:
    """`click.option` in a group."""
    return click.option(*declarations, cls=GroupedOption, group=group, **settings)
