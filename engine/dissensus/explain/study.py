"""`study`: the paper on any zoo. Check, measure, tell, draw."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dissensus.errors import ArgumentError
from dissensus.pairs.outputs import fresh_file, require_free
from dissensus.store.catalog import Store
from dissensus.store.models import again

from . import findings, tables
from .claims import Claim, claims, claims_table
from .features import Probed, probed, why_not
from .measuring import Measured, measure
from .report import markdown
from .specialisation import class_groups
from .zoo import Zoo

SHOWN = 3  # models in the figure of theta
RECORD = "study.json"
INCONSISTENCY, GAINS, THETA, PROFILE, CURVES, FEATURES, JOINED = (
    "figure1-inconsistency",
    "figure2-gains",
    "figure3-theta",
    "figure4-classes",
    "figure5-greedy",
    "figure6-features",
    "figure7-concatenated",
)


@dataclass(frozen=True, eq=False)
class Study:
    """The figures and claims of the paper on one zoo.

    Attributes
    ----------
    base : str
        The model that all others are compared with.
    claims : list of Claim
        Each claim with its estimate, interval, verdict and confound.
    tables : dict of str to pyarrow.Table
        The tidy tables behind the figures by name of figure; "claims" has the claims, one row a view.
    titles : dict of str to (str, str)
        What each figure finds, and its note.
    left_out : dict of str to str
        Figures that could not be made, and why.
    notes : list of str
        What a reader must be told.
    record : dict
        What was asked: base, band, splits, sizes, temperatures, version.
    """

    base: str
    claims: list[Claim]
    tables: dict[str, pa.Table]
    titles: dict[str, tuple[str, str]]
    left_out: dict[str, str]
    notes: list[str]
    record: dict[str, Any]

    def figures(self) -> Iterator[tuple[str, Any]]:
        """Draw the figures one after the other: name and matplotlib.figure.Figure.

        Raises
        ------
        MissingDependency
            matplotlib is not installed.
        """
        from dissensus.plots.study import draw

        for name, (title, note) in self.titles.items():
            yield name, draw(name, self.tables, title, note, self.record)

    def to_dict(self) -> dict[str, Any]:
        """Plain record for JSON: what was asked, claims, notes, what each figure finds."""
        return self.record | {
            "claims": [claim.to_dict() for claim in self.claims],
            "figures": {name: title for name, (title, _) in self.titles.items()},
            "left_out": self.left_out,
            "notes": self.notes,
        }

    def markdown(self) -> str:
        """Claims and findings as a text for people (Markdown)."""
        return markdown(self)

    def save(self, out: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write figures (PNG, SVG), tables (Parquet), claims.md and study.json into a new folder.

        It appears under its name when it is whole.

        Parameters
        ----------
        out : str or path
            Folder to make.
        force : bool
            Put it in the place of an earlier study's folder.

        Raises
        ------
        ArgumentError
            There is something of this name that is not to be replaced.
        MissingDependency
            matplotlib is not installed.
        """
        from dissensus.plots import rendered, require_plots
        from dissensus.store.folders import take_over

        require_plots()
        path = require_free_folder(out, force)
        place = path.with_name(f".{path.name}.new-{os.getpid()}") if path.exists() else path
        with fresh_file(place) as folder:
            folder.mkdir()
            for name, figure in self.figures():
                for fmt in ("png", "svg"):
                    (folder / f"{name}.{fmt}").write_bytes(rendered(figure, fmt))
            for name, table in self.tables.items():
                pq.write_table(table, folder / f"{name}.parquet")
            (folder / "claims.md").write_text(self.markdown())
            (folder / RECORD).write_text(
                json.dumps(_plain(self.to_dict()), indent=2, ensure_ascii=False) + "\n"
            )
        if place != path:
            shutil.rmtree(take_over(place, path))
        return path


def require_free_folder(out: str | os.PathLike[str], force: bool) -> Path:
    """Refuse a name that is taken; with `force` only one that is no study's folder."""
    path = require_free(out, replace=True)
    if not os.path.lexists(path):
        return path
    if not force:
        raise ArgumentError(
            f"{out} exists already: choose another folder, or replace it with force=True (--force)"
        )
    if path.is_symlink() or not (path / RECORD).is_file():
        raise ArgumentError(
            f"{out} is no folder of a study (no {RECORD} in it) and is not replaced: remove it"
        )
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


@again
def study(
    store: Store,
    base: str,
    *,
    category: str | None = None,
    order: Sequence[str] | None = None,
    group: str | None = None,
    accuracy_band: tuple[float, float] | None = None,
    select: str = "fit",
    report: str | None = None,
    allow_same_split: bool = False,
    labels: str | None = None,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: bool = False,
) -> Study:
    """Redo the study "No One Representation to Rule Them All" on the models of a store.

    Parameters
    ----------
    store : Store
        The predictions.
    base : str
        Model that all others are compared with.
    category : str, optional
        Column that models were stored with which says how they were trained; by default "category", else the
        "family" recorded at ingest.
    order : sequence of str, optional
        Categories from the nearest to the base on; those of the paper are known.
    group : str, optional
        Column of `Store.class_table` with groups of classes, for the fourth figure.
    accuracy_band : (float, float), optional
        Accuracies of the models compared, on the report split; by default 3 points around the base.
    select, report : str
        Split that temperatures are fitted and ensembles chosen on, and split that is reported on: "fit" and
        "report"; where all models have hard labels, nothing is fitted and all examples are reported on.
    allow_same_split : bool
        Permit the two to share examples.
    labels : str, optional
        Label set that decides what is right.
    out : str or path, optional
        Folder to write everything to; see `Study.save`.
    force : bool
        Put it in the place of an earlier study's folder.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Study

    Raises
    ------
    UnknownName, ArgumentError
        No such model, column, category or split; a band with no model but the base in it; a folder that
        exists.
    MissingDependency
        `out` is given and matplotlib is not installed.

    Notes
    -----
    Gontijo-Lopes, Dauphin, Cubuk, arXiv 2110.12899 (ICLR 2022). The ensemble of two is the mean of calibrated
    probabilities, where the paper lets the more confident model decide; probes of embeddings are ridge
    regressions, where the paper's are logistic. The sixth and seventh figure need embeddings of the base and
    of models inside the band.

    Examples
    --------
    >>> ds.study(store, "resnet50").claims[0].verdict  # doctest: +SKIP
    """
    if out is not None:
        from dissensus.plots import require_plots

        require_plots()
        require_free_folder(out, force)
    zoo = Zoo.of(
        store,
        base,
        category=category,
        order=order,
        accuracy_band=accuracy_band,
        select=select,
        report=report,
        allow_same_split=allow_same_split,
        labels=labels,
    )
    class_groups(zoo.store, group)  # refuses a column that is not there before any work
    found = measure(zoo, progress)
    told = _told(found, None if why_not(found) else probed(found, progress), group)
    if out is not None:
        told.save(out, force=force)
    return told


def _told(found: Measured, features: Probed | None, group: str | None) -> Study:
    """Tables, claims and titles of what was measured."""
    models = tables.models_table(found)
    categories = tables.categories_table(found, models)
    claimed = claims(found, models)
    made: dict[str, pa.Table] = {INCONSISTENCY: models, f"{INCONSISTENCY}-categories": categories}
    titles = {INCONSISTENCY: findings.inconsistency(found, categories)}
    left_out = _left_out(found)
    if GAINS not in left_out:
        made |= {GAINS: models, f"{GAINS}-lines": tables.lines_table(models)}
        titles[GAINS] = findings.gains(found, claimed, models)
    if THETA not in left_out:
        chosen = tables.representatives(found, SHOWN, tables.comparable(found))
        theta = tables.theta_table(found, chosen)
        profile = tables.profile_table(found, theta, group)
        kind = tables.groups_of_classes(found.zoo.store, group)[0]
        made |= {f"{THETA}-examples": theta, THETA: tables.histogram_table(theta), PROFILE: profile}
        titles[THETA] = findings.thetas(found, chosen)
        titles[PROFILE] = findings.profile(profile, found.zoo.model_ids[chosen[-1]], kind)
    if CURVES not in left_out:
        made[CURVES] = tables.curves_table(found)
        titles[CURVES] = findings.curves(found, made[CURVES])
    if features is not None:
        made |= {f"{FEATURES}-mixes": features.mixes, f"{FEATURES}-ranked": features.ranked}
        made |= {JOINED: features.joined, f"{JOINED}-lines": features.lines}
        titles |= {FEATURES: findings.features(found, features), JOINED: findings.joined(found, features)}
    made["claims"] = claims_table(claimed)
    zoo = found.zoo
    record = _record(found, group)
    if features is not None:
        record["sample_of_features"] = findings.sample_of_features(found, features)
    return Study(zoo.model_ids[zoo.base], claimed, made, titles, left_out, zoo.notes, record)


def _left_out(found: Measured) -> dict[str, str]:
    """Figures that these models cannot give, and why."""
    zoo, left = found.zoo, {}
    compared = [i for i in zoo.others if zoo.scored[i] and zoo.in_band[i]]
    if not zoo.scored.any():
        left = dict.fromkeys(
            (GAINS, THETA, PROFILE, CURVES), "all models have hard labels only, no confidences"
        )
    elif not zoo.scored[zoo.base]:
        left = dict.fromkeys((GAINS, THETA, PROFILE), "the base has hard labels only, no confidences")
    elif not compared:
        why = "no model inside the band has confidences"
        left = dict.fromkeys((GAINS, THETA, PROFILE), why)
    elif not tables.comparable(found):
        why = "the base and the models inside the band are right on the same examples"
        left = dict.fromkeys((THETA, PROFILE), why)
    if zoo.scored.sum() == 1:
        left[CURVES] = "one model alone has confidences"
    if why := why_not(found):
        left |= dict.fromkeys((FEATURES, JOINED), why)
    return left


def _record(found: Measured, group: str | None) -> dict[str, Any]:
    from dissensus import __version__

    zoo = found.zoo
    kind, _, of_class = tables.groups_of_classes(zoo.store, group)
    hard = [m for m, scored in zip(zoo.model_ids, zoo.scored, strict=True) if not scored]
    return {
        "store": str(zoo.store.path),
        "version": __version__,
        "base": zoo.model_ids[zoo.base],
        "base_accuracy": float(zoo.accuracy[zoo.base]),
        "models": len(zoo.model_ids),
        "category_column": zoo.category_from,
        "categories": zoo.order,
        "band": list(zoo.band),
        "in_band": int(zoo.in_band[zoo.others].sum()),
        "labels": zoo.store.truth.name,
        "select": zoo.select or None,
        "report": zoo.report,
        "n_examples": len(zoo.rows),
        "same_examples": bool(np.isin(zoo.fit, zoo.rows).any()),
        "labels_only": hard,
        "temperatures": found.temperatures,
        "base_category": zoo.category[zoo.base],
        "n_classes": zoo.store.n_classes,
        "group_kind": kind,
        "class_groups": of_class.tolist(),
        "sample": findings.sample(found),
        "sample_of_thetas": findings.sample(found, "Shown: some of the"),
        "sample_of_curves": findings.sample_of_curves(found),
    }
