"""A study as a text for people."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .claims import Claim, View

if TYPE_CHECKING:
    from .study import Study


def markdown(study: Study) -> str:
    """Claims as a table with their confounds, then what each figure finds."""
    lines = [
        f'# The claims of "No One Representation to Rule Them All" on {study.record["models"]} models',
        "",
    ]
    lines += [study.record["sample"], *study.notes, ""]
    lines += _table([claim for claim in study.claims if claim.is_tested])
    for claim in study.claims:
        said = f"- **{claim.name}**: {claim.statement}. *{claim.verdict}*."
        if not claim.is_tested:
            said += f" Not tested: it needs {claim.needs}."
        lines.append(f"{said} Caution: {claim.confound}.")
    lines += ["", "## Figures", ""]
    for name, (title, note) in study.titles.items():
        lines += [f"![{name}]({name}.png)", "", f"**{title}.** {note}", ""]
    lines += [f"- {name} is left out: {why}." for name, why in study.left_out.items()]
    return "\n".join(lines).rstrip() + "\n"


def _table(claims: list[Claim]) -> list[str]:
    """Views of the claims that could be tested, and how they are read."""
    if not claims:
        return []
    lines = [
        "| claim | verdict | inside which models | estimate | 95 % interval | unit | n | says |",
        "|---|---|---|--:|---|---|--:|---|",
    ]
    lines += [_row(claim, place, view) for claim in claims for place, view in enumerate(claim.views)]
    return [
        *lines,
        "",
        'A view says "holds" where its interval lies above 0, "does not hold" where it lies below; a claim '
        'gets the verdict that its main views (*) share, else "cannot tell".',
        "",
    ]


def _row(claim: Claim, place: int, view: View) -> str:
    value, low, high = (_number(x) for x in (view.estimate.value, view.estimate.low, view.estimate.high))
    interval = "–" if low == "–" else f"[{low}, {high}]"
    head = (claim.name, f"**{claim.verdict}**") if place == 0 else ("", "")
    sample = view.sample + ("*" if view.main else "")
    cells = [*head, sample, value, interval, view.unit, f"{view.estimate.n:,}", view.verdict]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.3f}"
