"""The table of recipes: five families of divergence from one base model, in a small and in a full size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .members import (
    FULL_ARCHITECTURES,
    FULL_ESTIMATORS,
    SMALL_ARCHITECTURES,
    SMALL_ESTIMATORS,
)
from .recipes import (
    ARCHITECTURE,
    BASE,
    DATA_SET,
    FRAMEWORK,
    HYPER_PARAMETERS,
    REINITIALISATION,
    Recipe,
    Training,
)

Change = tuple[str, str, dict[str, Any]]
"""Model id, note, and the fields that change."""


@dataclass(frozen=True)
class Scale:
    """What differs between the zoo of a small data set and that of a full one.

    Attributes
    ----------
    full
        All members of each family, not a few of them.
    width
        Of the base model.
    base
        Training of the base model.
    contrast
        Contrastive pretraining.
    transfer
        Pretraining on foreign images.
    tune
        Training after pretraining.
    cutout
        Side of the hole in pixels.
    seeds
        Of the reinitialised models; the base model has seed 0.
    """

    full: bool
    width: int
    base: Training
    contrast: Training
    transfer: Training
    tune: Training
    cutout: int
    seeds: tuple[int, ...]


SMALL = Scale(
    full=False,
    width=12,
    base=Training(epochs=25, lr=0.01, batch_size=50),
    contrast=Training(epochs=80, lr=0.01, batch_size=100),
    transfer=Training(epochs=3, lr=0.01),
    tune=Training(epochs=30, lr=0.005, batch_size=50),
    cutout=3,
    seeds=(1, 2, 3),
)
"""For 200 images of 8 x 8 pixels: a second or two a model."""

FULL = Scale(
    full=True,
    width=12,
    base=Training(epochs=10, lr=0.01, flip=True),
    contrast=Training(epochs=12, lr=0.005, batch_size=256),
    transfer=Training(epochs=6, lr=0.01),
    tune=Training(epochs=7, lr=0.005, flip=True),
    cutout=10,
    seeds=(1, 2, 3, 4, 5),
)
"""For 12,000 images of 28 x 28 pixels: about half a minute a model."""


def recipes_for(size: int, flips: bool) -> list[Recipe]:
    """Return the zoo for square images of `size` pixels.

    Parameters
    ----------
    size
        Side of the images; below 16 the small zoo is chosen.
    flips
        Mirrored images are as natural as the images.
    """
    scale = SMALL if size < 16 else FULL
    if not flips:
        scale = replace(scale, base=replace(scale.base, flip=False), tune=replace(scale.tune, flip=False))
    families = (_reinitialised, _hyper_parameters, _architectures, _frameworks, _data_sets)
    return [base_recipe(scale), *(recipe for family in families for recipe in family(scale))]


def base_recipe(scale: Scale) -> Recipe:
    """Return the base model: a small residual network."""
    options = {"width": scale.width}
    return Recipe("base", BASE, "supervised", "small-resnet", "small residual network", options, scale.base)


def _vary(scale: Scale, model_id: str, category: str, note: str, **changes: Any) -> Recipe:
    """Return the base recipe with another name and with changed fields."""
    return replace(base_recipe(scale), model_id=model_id, category=category, note=note, **changes)


def _reinitialised(scale: Scale) -> list[Recipe]:
    return [
        _vary(scale, f"reinit-{seed}", REINITIALISATION, f"seed {seed}", seed=seed) for seed in scale.seeds
    ]


def _hyper_parameters(scale: Scale) -> list[Recipe]:
    """Return the base model's network trained in other ways, or wider, narrower, with dropout."""
    return [
        _vary(scale, name, HYPER_PARAMETERS, note, training=replace(scale.base, **changes), seed=20 + row)
        for row, (name, note, changes) in enumerate(_trainings(scale))
    ] + [
        _vary(scale, name, HYPER_PARAMETERS, note, options=options, seed=40 + row)
        for row, (name, note, options) in enumerate(_builds(scale))
    ]


def _trainings(scale: Scale) -> list[Change]:
    """Return what may change in the base model's training."""
    base = scale.base
    first: list[Change] = [
        ("lr-high", "learning rate x 3", {"lr": 3 * base.lr}),
        ("lr-low", "learning rate / 5", {"lr": base.lr / 5}),
        ("decay", "weight decay x 50", {"weight_decay": 50 * base.weight_decay}),
        ("sgd", "SGD with momentum", {"optimiser": "sgd", "lr": 0.1, "weight_decay": 5e-4}),
        ("augment-none", "no augmentation", {"shift": 0, "flip": False}),
        ("mixup", "mixup", {"mixup": 0.4}),
        ("cutout", "cutout", {"cutout": scale.cutout}),
    ]
    further: list[Change] = [
        ("smoothing", "label smoothing 0.1", {"label_smoothing": 0.1}),
        (
            "batch-small",
            "batches a quarter as large",
            {"batch_size": base.batch_size // 4, "lr": base.lr / 2},
        ),
        ("augment-strong", "shifts of 3 pixels", {"shift": 3}),
        ("short", "half of the epochs", {"epochs": base.epochs // 2}),
    ]
    return first + further if scale.full else first


def _builds(scale: Scale) -> list[Change]:
    """Return what may change in the base model's network."""
    width = scale.width
    first: list[Change] = [
        ("dropout", "dropout 0.5 before the read-out", {"width": width, "head_dropout": 0.5}),
        ("width-narrow", "half the width", {"width": width // 2}),
    ]
    further: list[Change] = [("width-wide", "twice the width", {"width": 2 * width})]
    return first + further if scale.full else first


def _architectures(scale: Scale) -> list[Recipe]:
    """Return other networks, trained on the same images as the base model."""
    table = FULL_ARCHITECTURES if scale.full else SMALL_ARCHITECTURES
    recipes = []
    for row, (name, network, note, options, changes) in enumerate(table):
        how, seed = replace(scale.base, **changes), 100 + row
        recipes.append(Recipe(name, ARCHITECTURE, "supervised", network, note, options, how, seed=seed))
    return recipes


def _frameworks(scale: Scale) -> list[Recipe]:
    """Return models that learn in another way than supervised gradient descent from pixels to labels."""
    probe = Recipe(
        "simclr-probe", FRAMEWORK, "contrastive", "small-resnet", "SimCLR, linear probe", {"width": 16},
        pretraining=scale.contrast, frozen=True, seed=60,
    )  # fmt: skip
    tuned = replace(
        probe, model_id="simclr-tuned", note="SimCLR, then fine-tuned",
        frozen=False, training=scale.tune, seed=61,
    )  # fmt: skip
    table = FULL_ESTIMATORS if scale.full else SMALL_ESTIMATORS
    return [probe, tuned] + [
        Recipe(name, FRAMEWORK, "estimator", estimator, note, options, seed=70 + row)
        for row, (name, estimator, note, options) in enumerate(table)
    ]


def _data_sets(scale: Scale) -> list[Recipe]:
    """Return the base model's network trained on other or less data, or from features of another data set."""
    return [
        _vary(scale, f"data-{name}", DATA_SET, note, images=name, training=how, seed=80 + row)
        for row, (name, note, how) in enumerate(_subsets(scale))
    ] + _transferred(scale)


def _subsets(scale: Scale) -> list[tuple[str, str, Training]]:
    """Return names of `other.SUBSETS` and how their images are learned."""
    base = scale.base
    twice, half = replace(base, epochs=2 * base.epochs), replace(base, epochs=base.epochs // 2)
    first = [
        ("half", "half of the training images", base),
        ("other", "other training images, as many", base),
        ("noisy", "a fifth of the labels random", base),
    ]
    further = [
        ("quarter", "a quarter of the images, twice as often", twice),
        ("long-tail", "classes of falling size", base),
        ("more", "three times as many images, half as often", half),
    ]
    return first + further if scale.full else first


def _transferred(scale: Scale) -> list[Recipe]:
    """Return the base model's network with features of another data set."""
    shapes = _vary(
        scale, "shapes-tuned", DATA_SET, "features of geometric shapes, fine-tuned", method="transfer",
        pretraining=scale.transfer, pretraining_images="shapes", training=scale.tune, seed=90,
    )  # fmt: skip
    writing = replace(
        shapes, model_id="digits-tuned", note="features of handwritten digits, fine-tuned",
        pretraining_images="handwriting", seed=91,
    )  # fmt: skip
    probe = replace(
        shapes, model_id="shapes-probe", note="features of geometric shapes, linear probe",
        frozen=True, training=None, seed=92,
    )  # fmt: skip
    return [shapes, writing, probe] if scale.full else [shapes, probe]
