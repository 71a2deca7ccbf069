"""Weights on disk: one folder a model, complete or absent, with its recipe; and how they are loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from dissensus.ingest import LazyModel, ModelSource

    from .data import DemoData
    from .recipes import Recipe

RECIPE = "recipe.json"
TENSORS = "model.safetensors"
ESTIMATOR = "estimator.joblib"
CONFIG = "config.json"


def is_ready(folder: Path, recipe: Recipe, data: DemoData) -> bool:
    """Tell whether weights of exactly this recipe and these training images are there."""
    record = read_record(folder, recipe)
    return record.get("digest") == recipe.digest(data.fingerprint)


def read_record(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Return what is written beside a model's weights; empty where there are none."""
    try:
        record: dict[str, Any] = json.loads((folder / recipe.model_id / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def save(model: Any, recipe: Recipe, data: DemoData, folder: Path, cpu_s: float) -> Path:
    """Write a trained model beside its place, then rename it there: a kill leaves the old weights or the new.

    Parameters
    ----------
    model
        What `training.train` or `classical.fit` returned.
    recipe, data
        What it came from.
    folder
        Of all weights.
    cpu_s
        Processor time of the training, recorded.

    Returns
    -------
    Path
        The model's folder: `recipe.json`, and `model.safetensors` (timm's networks with `config.json`,
        in timm's `local-dir:` layout) or `estimator.joblib`.
    """
    final, partial_folder = folder / recipe.model_id, folder / f".{recipe.model_id}.partial"
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    _write(model, recipe, data, partial_folder)
    record = {
        "digest": recipe.digest(data.fingerprint),
        "cpu_s": round(cpu_s, 2),
        "recipe": json.loads(recipe.to_json()),
    }
    (partial_folder / RECIPE).write_text(
        json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )
    if final.exists():
        shutil.rmtree(final)
    os.rename(partial_folder, final)
    return final


def source(recipe: Recipe, data: DemoData, folder: Path) -> LazyModel:
    """Return the model source of stored weights; they are read when its turn comes.

    Its metadata tell category, recipe and training, so that queries of the store can group by them.
    """
    from dissensus.ingest import LazyModel

    metadata = {
        "category": recipe.category,
        "architecture": recipe.architecture.removeprefix("timm/"),
        "method": recipe.method,
        "note": recipe.note,
        "trained_on": recipe.images,
        "seed": recipe.seed,
        "train_cpu_s": read_record(folder, recipe).get("cpu_s"),
        "recipe": recipe.digest(data.fingerprint),
    }
    return LazyModel(recipe.model_id, partial(load, recipe, data, folder), metadata)


def load(recipe: Recipe, data: DemoData, folder: Path) -> ModelSource:
    """Read a model's weights and return it as a model source."""
    from dissensus.ingest import TimmModel, TorchModel

    own = folder / recipe.model_id
    if recipe.method == "estimator":
        return _load_estimator(recipe, own)
    if recipe.is_timm:
        return TimmModel(recipe.architecture.removeprefix("timm/"), checkpoint=own, model_id=recipe.model_id)
    return TorchModel(recipe.model_id, _load_network(recipe, data, own))


def _write(model: Any, recipe: Recipe, data: DemoData, folder: Path) -> None:
    if recipe.method == "estimator":
        import joblib

        joblib.dump(model, folder / ESTIMATOR, compress=1)
        return
    from safetensors.torch import save_file

    if recipe.is_timm:
        config = _timm_config(recipe, data)
        (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        model = model[1]  # without the normalisation, which timm does by its own configuration
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / TENSORS)


def _timm_config(recipe: Recipe, data: DemoData) -> dict[str, Any]:
    """Return config.json of timm's `local-dir:` layout: architecture, arguments, preprocessing."""
    preprocessing = {
        "input_size": [1, data.size, data.size],
        "fixed_input_size": "img_size" in recipe.options,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [data.mean],
        "std": [data.std],
        "num_classes": data.n_classes,
    }
    return {
        "architecture": recipe.architecture.removeprefix("timm/"),
        "num_classes": data.n_classes,
        "model_args": {"in_chans": 1, **recipe.options},
        "pretrained_cfg": preprocessing,
    }


def _load_network(recipe: Recipe, data: DemoData, folder: Path) -> nn.Module:
    from safetensors.torch import load_file

    from .training import untrained

    network = untrained(recipe, data)
    network.load_state_dict(load_file(folder / TENSORS))
    return network.eval()


def _load_estimator(recipe: Recipe, folder: Path) -> ModelSource:
    import joblib

    from dissensus.ingest import estimator_model

    from .classical import unit_rows

    path = folder / ESTIMATOR
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return estimator_model(recipe.model_id, joblib.load(path), preprocess=unit_rows, fingerprint=digest)
