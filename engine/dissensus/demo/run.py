"""`run_demo`: train what is missing, store what is missing, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dissensus.errors import ArgumentError, ModelLoadError

from . import weights
from .classical import require_sklearn
from .data import DemoData, load
from .families import recipes_for
from .recipes import BASE, Recipe
from .report import Findings, findings
from .zoo import train_missing

if TYPE_CHECKING:
    from dissensus.ensemble import Ensemble
    from dissensus.store.catalog import Store

ENSEMBLE_SIZE = 10


@dataclass(frozen=True)
class DemoResult:
    """What a demo made and found.

    Attributes
    ----------
    data
        Name of the data set.
    store
        Open, with the logits of all models on the fit and report images.
    weights
        Folder of the weights, one sub-folder a model.
    findings
        Tables of models, categories and pairs.
    ensemble
        Greedy ensemble, selected on fit and reported on report.
    trained
        Models that were trained in this call; the others' weights were there.
    failed
        Models that could not be trained or run, and why.
    """

    data: str
    store: Store
    weights: Path
    findings: Findings
    ensemble: Ensemble
    trained: list[str]
    failed: dict[str, str]


def run_demo(
    data: str | Path = "digits",
    *,
    out: str | Path | None = None,
    path: str | Path | None = None,
    progress: bool = True,
    device: str | None = None,
    recipes: Sequence[Recipe] | None = None,
    workers: int | None = None,
) -> DemoResult:
    """Train a zoo of really different classifiers, put their logits into a store, and say which to combine.

    Nothing is done twice: weights and stored logits of the same recipes are kept; a killed demo goes on
    where it was and a complete one only computes its answers. Training runs on the CPU, one process a core.

    Parameters
    ----------
    data
        `"digits"` (comes with scikit-learn), `"fashion-mnist"`, or a folder with the IDX files of the MNIST
        family.
    out
        Folder of the results, `demo-<data>` in the current folder by default: `weights/` and `<data>.zoo`.
    path
        Where Fashion-MNIST's IDX files lie, if not where Debian's package or torchvision put them.
    progress
        Show progress on stderr.
    device
        Where the trained models run, as in `dissensus.infer`.
    recipes
        Another zoo than the built-in one; exactly one of category `"base"`.
    workers
        Training processes, of one thread each; one a core by default. 0 trains in this process.

    Returns
    -------
    DemoResult

    Raises
    ------
    ArgumentError
        The data is not found, or the recipes break their rules.
    MissingDependency
        scikit-learn is not installed.
    ModelLoadError
        The base model or all others failed.

    Examples
    --------
    >>> import dissensus as ds
    >>> result = ds.run_demo("digits")  # doctest: +SKIP
    >>> result.ensemble.members  # doctest: +SKIP
    """
    require_sklearn()
    from dissensus.ingest.streaming.checks import choose_device

    images = load(data, path)
    zoo = list(recipes_for(images.size, images.flips) if recipes is None else recipes)
    base = _check(zoo)
    folder = Path(f"demo-{images.name}" if out is None else out)
    choose_device(device)  # this and the store before the training, which a mistake would waste
    store = _store(folder / f"{images.name}.zoo", images)
    trained, failed = train_missing(zoo, images, folder / "weights", workers=workers, progress=progress)
    ready = [recipe for recipe in zoo if recipe.model_id not in failed]
    failed |= _ingest(store, ready, images, folder / "weights", device, trained, progress)
    present = [recipe.model_id for recipe in zoo if recipe.model_id not in failed]
    if base not in present or len(present) < 2:
        raise ModelLoadError(_too_few(base, failed))
    return DemoResult(
        images.name,
        store,
        folder / "weights",
        findings(store, ready),
        _ensemble(store, present, progress),
        trained,
        failed,
    )


def _check(recipes: Sequence[Recipe]) -> str:
    """Return the name of the base model."""
    ids = [recipe.model_id for recipe in recipes]
    base = [recipe.model_id for recipe in recipes if recipe.category == BASE]
    if len(base) != 1 or len(set(ids)) < len(ids) or len(ids) < 2:
        raise ArgumentError(
            "recipes must be two or more with distinct ids, exactly one of category 'base'; "
            f"got {len(ids)}, {len(set(ids))} of them distinct, {len(base)} base"
        )
    return base[0]


def _store(path: Path, data: DemoData) -> Store:
    from dissensus.ingest import create_from
    from dissensus.ingest.streaming.checks import check_examples, check_writable
    from dissensus.store.catalog import Store

    store = Store(path) if path.exists() else create_from(path, data.examples())
    check_examples(store, data.examples())
    check_writable(store)
    return store


def _ingest(
    store: Store,
    recipes: Sequence[Recipe],
    data: DemoData,
    folder: Path,
    device: str | None,
    trained: Sequence[str],
    progress: bool,
) -> dict[str, str]:
    """Run the models that the store does not hold yet; return those that failed, and why."""
    from dissensus.ingest import infer

    missing = [r for r in recipes if not _is_stored(store, r, data, r.model_id in trained)]
    if not missing:
        return {}
    sources = [weights.source(recipe, data, folder) for recipe in missing]
    # What is staged may come from older weights; it is at most one model, of seconds.
    done = infer(store, sources, data.examples(), device=device, restart=True, progress=progress)
    return {run.model_id: run.error or "failed" for run in done.failed}


def _is_stored(store: Store, recipe: Recipe, data: DemoData, trained: bool) -> bool:
    """Tell whether the store holds this model from these weights; logits of older ones are removed."""
    if recipe.model_id not in store.model_ids:
        return False
    there = store.model(recipe.model_id).metadata.get("recipe")
    if there == recipe.digest(data.fingerprint) and not trained:
        return True
    store.remove(recipe.model_id)
    return False


def _ensemble(store: Store, models: Sequence[str], progress: bool) -> Ensemble:
    from dissensus.ensemble import greedy

    return greedy(store, size=ENSEMBLE_SIZE, candidates=models, progress=progress)


def _too_few(base: str, failed: dict[str, str]) -> str:
    first = next(iter(failed.items()), (base, "not there"))
    return (
        f"the base model {base!r} and at least one other are needed, {len(failed)} failed, "
        f"first {first[0]!r}: {first[1]}"
    )
