"""What a recipe is: one frozen value says everything that a model of the demo zoo comes from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

BASE = "base"
REINITIALISATION = "reinitialisation"
HYPER_PARAMETERS = "hyper-parameters"
ARCHITECTURE = "architecture"
FRAMEWORK = "framework"
DATA_SET = "data set"

CATEGORIES = (BASE, REINITIALISATION, HYPER_PARAMETERS, ARCHITECTURE, FRAMEWORK, DATA_SET)
"""Kinds of divergence from the base model, in the order of the paper (section 3), nearest first."""

METHODS = ("supervised", "contrastive", "transfer", "estimator")
"""How weights come about; `training.train` and `classical.fit` know one verb for each."""

_VERSION = 1  # raise it when training code changes what a recipe means: weights are then made anew


@dataclass(frozen=True)
class Training:
    """One run of gradient descent.

    Attributes
    ----------
    epochs
        Passes over the training images.
    lr
        Largest learning rate of the one-cycle schedule.
    batch_size
        Images a step.
    weight_decay
        Decoupled for AdamW, added to the gradient for SGD.
    optimiser
        `"adamw"` or `"sgd"` (Nesterov momentum 0.9).
    label_smoothing
        Share of the target spread over all classes.
    shift
        Largest random translation, in pixels.
    flip
        Mirror half of the images.
    cutout
        Side of a square of zeros at a random place, in pixels; 0 for none.
    mixup
        Parameter of the Beta distribution that mixes pairs of images; 0 for none.
    """

    epochs: int
    lr: float
    batch_size: int = 128
    weight_decay: float = 0.01
    optimiser: str = "adamw"
    label_smoothing: float = 0.0
    shift: int = 1
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """Everything that one model of the zoo comes from; equal recipes give equal models, but for rounding.

    Attributes
    ----------
    model_id
        Name in the store and of the folder of weights.
    category
        One of `CATEGORIES`.
    method
        One of `METHODS`.
    architecture
        A name of `networks.BODIES`, `timm/<name>`, or a name of `classical.ESTIMATORS`.
    note
        What differs from the base model, for people.
    options
        Arguments of the architecture or estimator.
    training
        How the last stage is trained; None for estimators.
    images
        A name of `other.SUBSETS`: the labelled images it is trained on.
    pretraining
        Of `"contrastive"` and `"transfer"`: how features are learned first.
    pretraining_images
        Of `"transfer"`: a name of `other.FOREIGN`.
    frozen
        After pretraining only a linear read-out is fitted to the features.
    seed
        Of initial weights, order of images, augmentation and subsets.
    """

    model_id: str
    category: str
    method: str
    architecture: str
    note: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Training | None = None
    images: str = "train"
    pretraining: Training | None = None
    pretraining_images: str = ""
    frozen: bool = False
    seed: int = 0

    def digest(self, data: str) -> str:
        """Return the sha256 that names recipe and data: weights with another one are stale.

        Parameters
        ----------
        data
            Fingerprint of the training images.
        """
        fields = asdict(self)
        for label in ("category", "note"):  # a better word is no reason to train again
            del fields[label]
        text = json.dumps([_VERSION, data, fields], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """Return the recipe as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe that `to_json` wrote."""
        fields = json.loads(text)
        for stage in ("training", "pretraining"):
            fields[stage] = None if fields[stage] is None else Training(**fields[stage])
        return cls(**fields)

    @property
    def is_timm(self) -> bool:
        """Whether the network is one of timm's."""
        return self.architecture.startswith("timm/")
