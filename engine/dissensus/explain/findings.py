"""What the figures of a study say above and below them: the finding, computed; sample, units and methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from .claims import HOLDS, NOT, Claim
from .features import DRAWS, Probed
from .measuring import Measured
from .tables import LEAST_OF_GROUP, numbers
from .trends import Estimate


def sample(found: Measured, shown: str = "Shown: the") -> str:
    """Which models and examples."""
    zoo = found.zoo
    low, high = zoo.band
    inside, n = int(zoo.in_band[zoo.others].sum()), len(zoo.rows)
    on = "" if zoo.report == "all" else f" of split {zoo.report!r}"
    own = 100 * zoo.accuracy[zoo.base]
    return (
        f"Base: {zoo.model_ids[zoo.base]}, accuracy {own:.1f} %, n = {n:,} examples{on}. {shown} {inside} "
        f"of {len(zoo.others)} other models with {100 * low:.1f} to {100 * high:.1f} % accuracy."
    )


def sample_of_curves(found: Measured) -> str:
    """Which models and examples the greedy curves are of."""
    zoo = found.zoo
    return (
        f"Candidates: all {int(zoo.scored.sum())} models with confidences, at any accuracy; "
        f"n = {len(zoo.rows):,} examples of split {zoo.report!r}."
    )


def sample_of_features(found: Measured, probed: Probed) -> str:
    """Which models and examples the probes are of."""
    zoo = found.zoo
    inside, n = int(zoo.in_band[zoo.others].sum()), len(zoo.rows)
    return (
        f"Base: {zoo.model_ids[zoo.base]}, accuracy {100 * zoo.accuracy[zoo.base]:.1f} %, n = {n:,} examples "
        f"of split {zoo.report!r}. Models probed: {probed.joined.num_rows} of the {inside} with "
        f"{100 * zoo.band[0]:.1f} to {100 * zoo.band[1]:.1f} % accuracy, stored with embeddings."
    )


def inconsistency(found: Measured, categories: pa.Table) -> tuple[str, str]:
    """Title and note of the first figure."""
    rows = [row for row in categories.to_pylist() if row["n_in_band"]]
    rows.sort(key=lambda row: row["error_inconsistency"])
    least, most = rows[0], rows[-1]
    title = f"Error inconsistency with the base: {_share(least['error_inconsistency'])} ({least['category']})"
    if least is not most:
        title += f" to {_share(most['error_inconsistency'])} ({most['category']})"
    note = (
        "Error inconsistency: share of examples that exactly one of model and base gets right. "
        "Thick lines: means; thin ones: 95 % intervals over models (Student, 3 or more)."
    )
    return title, note


def gains(found: Measured, claims: Sequence[Claim], models: pa.Table) -> tuple[str, str]:
    """Title and note of the second figure."""
    claim = next(c for c in claims if c.name == "improvement")
    view = claim.views[0].estimate
    inside = numbers(models, "in_band") > 0
    values = 100 * numbers(models, "improvement")[inside]
    mean = f"Pairs with the base gain {np.nanmean(values):+.1f} points over their mean"
    if math.isnan(view.value):
        title = f"{mean}; too few models for a trend"
    else:
        said = {HOLDS: "more", NOT: "less"}.get(claim.views[0].verdict)
        # a slope is points of improvement a point of inconsistency
        grows = f"{view.value:+.2f} for each point of inconsistency {_interval(view)}"
        title = f"{mean}, {grows}" if said else f"{mean}; no clear trend with inconsistency {_interval(view)}"
    note = (
        "Ensemble: mean of the two calibrated probabilities. Stars: means of categories. Line: least squares "
        "over the models shown; band: 95 %, bootstrap over models. The slope in the title holds the models' "
        "accuracy fixed."
    )
    return title, note


def thetas(found: Measured, chosen: Sequence[int]) -> tuple[str, str]:
    """Title and note of the third figure."""
    first, last = (found.aurocs[i] for i in (chosen[0], chosen[-1]))
    assert first is not None, "chosen models have confidences"
    assert last is not None, "chosen models have confidences"
    names = found.zoo.model_ids
    told = {chosen[-1]: last.value, chosen[0]: first.value}
    parts = [f"{value:.2f} for {names[i]}" for i, value in told.items() if not math.isnan(value)]
    title = f"Confidence tells who is right with AUROC {', '.join(parts)}"
    if not parts:
        title = "Whether confidence tells who is right is open: only one of the two is ever right alone"
    note = (
        "theta = arctan2(confidence of the base, confidence of the other model), temperature-scaled: above "
        "45° the base is more confident. Examples where at least one of these pairs is inconsistent. AUROC "
        "of theta for only-base-right against only-other-right, with its 95 % interval (DeLong): 0.5 tells "
        "nothing, 1 all."
    )
    return title, note


def profile(table: pa.Table, model: str, kind: str) -> tuple[str, str]:
    """Title and note of the fourth figure."""
    rows = [row for row in table.to_pylist() if row["model"] == model and row["low"] is not None]
    kind = kind.replace("_", " ")
    title = f"No {kind} has enough inconsistent examples of {model} to tell"
    if rows:
        other, base = min(rows, key=lambda row: row["high"]), max(rows, key=lambda row: row["low"])
        title = f"{model} is surer, beside the base, on {kind} {other['group']} than on {base['group']}"
        if other["high"] >= base["low"]:
            title = f"Beside {model} no {kind} stands apart from another: its intervals of mean theta meet"
    note = (
        "Points: examples that exactly one of the two gets right. Black: their mean theta; grey: its "
        f"interval from {LEAST_OF_GROUP} examples on (Student), 95 % for all together (Bonferroni). Above "
        "45° the base is more confident."
    )
    return title, note


def curves(found: Measured, table: pa.Table) -> tuple[str, str]:
    """Title and note of the fifth figure."""
    starts: dict[str, list[dict[str, object]]] = {}
    for row in table.to_pylist():
        starts.setdefault(str(row["start"]), []).append(row)
    second = [rows[1] for rows in starts.values() if len(rows) > 1]
    differ = sum(row["member_category"] != row["start_category"] for row in second)
    gains = [
        100 * (float(str(r[1]["report_accuracy"])) - float(str(r[0]["report_accuracy"])))
        for r in starts.values()
        if len(r) > 1
    ]
    title = "No second model to add"
    if second:
        title = (
            f"The first model added is of another category for {differ} of {len(second)} starts "
            f"and brings {min(gains):+.1f} to {max(gains):+.1f} points"
        )
    note = (
        f"Greedy forward selection by accuracy on split {found.zoo.select!r}, each model once; accuracy on "
        f"split {found.zoo.report!r} is shown, which took no part. Marker: category of the model added."
    )
    return title, note


PROBE = (
    "Linear probes: ridge regressions of the class on standardised features, fitted on split {fit!r}, "
    "accuracy on split {report!r}."
)


def features(found: Measured, probed: Probed) -> tuple[str, str]:
    """Title and note of the sixth figure."""
    mixes = probed.mixes.to_pylist()
    models = list(dict.fromkeys(row["model"] for row in mixes))
    told = []
    for model in dict.fromkeys([models[0], models[-1]]):
        even = [row["accuracy"] for row in mixes if row["model"] == model and row["share"] == 0.5]
        told.append(f"{_share(float(np.mean(even)))} with {model}")
    title = f"Half of the features from another model: a probe gets {' and '.join(told)}"
    title += f", all from the base {_share(probed.base_accuracy)}"
    note = (
        f"{PROBE.format(fit=found.zoo.select, report=found.zoo.report)} Left: as many features as the "
        f"smaller of the two embeddings has, drawn at random; means and ranges of {DRAWS} draws. Right: "
        "features of both embeddings, those first whose squared correlation with all others is least."
    )
    return title, note


def joined(found: Measured, probed: Probed) -> tuple[str, str]:
    """Title and note of the seventh figure."""
    gain, slope = 100 * float(np.mean(numbers(probed.joined, "gain"))), probed.slope
    title = f"A probe on both embeddings gets {gain:+.1f} points more than the better of the two alone"
    if not math.isnan(slope.value):
        sure = slope.low > 0 or slope.high < 0
        each = f"{slope.value:+.2f} for each point of inconsistency {_interval(slope)}"
        title += f", {each}" if sure else f"; no clear trend with inconsistency {_interval(slope)}"
    note = (
        f"{PROBE.format(fit=found.zoo.select, report=found.zoo.report)} Dashed: the base's embedding alone. "
        "Stars: means of categories. Line: least squares over the models shown; band: 95 %, bootstrap over "
        "models. The slope in the title holds the models' accuracy fixed."
    )
    return title, note


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _interval(estimate: Estimate) -> str:
    return f"[{estimate.low:+.2f}, {estimate.high:+.2f}]"
