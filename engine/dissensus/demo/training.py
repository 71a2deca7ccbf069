"""Gradient descent for the demo zoo: supervised, contrastive and transferred; seeded, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from . import augment, networks
from .other import foreign, subset

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .data import DemoData, LabelledImages
    from .recipes import Recipe, Training

Loss = Callable[[torch.Tensor], torch.Tensor]

_TEMPERATURE = 0.2
_PROJECTION = 64


def train(recipe: Recipe, data: DemoData) -> nn.Module:
    """Train the network of a recipe and return it in evaluation mode.

    Parameters
    ----------
    recipe
        Of any method but `"estimator"`.
    data
        Gives the training images, the image size, classes and normalisation.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = untrained(recipe, data)
        images = subset(data, recipe.images, recipe.seed)
        if recipe.method == "contrastive":
            _contrast(network, images, recipe, data.flips)
        elif recipe.method == "transfer":
            _pretrain(network, data, recipe)
        if recipe.frozen:
            _read_out(network, images, data.n_classes)
        elif recipe.training is not None:
            _supervise(network, images, recipe.training, data.n_classes, recipe.seed)
    return network.eval()


def untrained(recipe: Recipe, data: DemoData) -> nn.Module:
    """Return the network of a recipe with fresh weights from torch's global generator."""
    return networks.build(
        recipe.architecture,
        dict(recipe.options),
        size=data.size,
        n_classes=data.n_classes,
        mean=data.mean,
        std=data.std,
    )


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """Return (N, H, W) uint8 images as (N, 1, H, W) float32 in [0, 1], as the ingest layer does."""
    return torch.from_numpy(images.copy())[:, None].to(torch.float32).div_(255)


def _supervise(network: nn.Module, images: LabelledImages, how: Training, n_classes: int, seed: int) -> None:
    """Minimise cross-entropy on augmented labelled images."""
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = to_tensor(images.images), torch.from_numpy(images.labels)
    targets = functional.one_hot(labels, n_classes).to(torch.float32)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        batch, wanted = augment.augment(pixels[rows], how, generator), targets[rows]
        if how.mixup:
            batch, wanted = augment.mixup(batch, wanted, how.mixup, generator)
        return functional.cross_entropy(network(batch), wanted, label_smoothing=how.label_smoothing)

    _descend(network, loss, how, len(pixels), generator)


def _contrast(network: nn.Module, images: LabelledImages, recipe: Recipe, flips: bool) -> None:
    """Learn features without labels: views of one image attract, others repel (SimCLR, Chen et al. 2020)."""
    assert isinstance(network, networks.Classifier)
    assert recipe.pretraining is not None
    generator = torch.Generator().manual_seed(recipe.seed)
    pixels, n = to_tensor(images.images), network.n_features
    projection = nn.Sequential(nn.Linear(n, n), nn.ReLU(), nn.Linear(n, _PROJECTION))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        views = [augment.contrastive_view(pixels[rows], flips, generator) for _ in range(2)]
        return _attraction(projection(network.features(torch.cat(views))))

    _descend(nn.ModuleList([network, projection]), loss, recipe.pretraining, len(pixels), generator)


def _attraction(projected: torch.Tensor) -> torch.Tensor:
    """Return the NT-Xent loss of (2 B, D) projections whose rows i and B + i are views of one image."""
    unit = functional.normalize(projected, dim=1)
    similarity = (unit @ unit.T / _TEMPERATURE).fill_diagonal_(float("-inf"))
    partner = torch.arange(len(unit)).roll(len(unit) // 2)
    return functional.cross_entropy(similarity, partner)


def _pretrain(network: nn.Module, data: DemoData, recipe: Recipe) -> None:
    """Learn features by classifying another data set, then forget its read-out."""
    assert isinstance(network, networks.Classifier)
    assert recipe.pretraining is not None
    images = foreign(recipe.pretraining_images, data.size, recipe.seed)
    n_classes, own = int(images.labels.max()) + 1, network.head
    network.head = nn.Linear(network.n_features, n_classes)
    _supervise(network, images, recipe.pretraining, n_classes, recipe.seed)
    network.head = own


def _read_out(network: nn.Module, images: LabelledImages, n_classes: int, decay: float = 1e-4) -> None:
    """Fit the linear read-out to the frozen features by L-BFGS, as the paper's probes are."""
    assert isinstance(network, networks.Classifier)
    labels = torch.from_numpy(images.labels)
    features = _features(network, to_tensor(images.images))
    mean, std = features.mean(0), features.std(0) + 1e-3
    probe = nn.Linear(network.n_features, n_classes)
    optimiser = torch.optim.LBFGS(probe.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.cross_entropy(probe((features - mean) / std), labels)
        loss = loss + decay * probe.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():  # the standardisation is folded into the read-out
        network.head.weight.copy_(probe.weight / std)
        network.head.bias.copy_(probe.bias - network.head.weight @ mean)


def _features(network: networks.Classifier, pixels: torch.Tensor) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return torch.cat([network.features(batch) for batch in torch.split(pixels, 500)])


def _descend(network: nn.Module, loss: Loss, how: Training, n: int, generator: torch.Generator) -> None:
    """Minimise `loss` of batches of rows on a one-cycle schedule (Smith 2018)."""
    batch_size = min(how.batch_size, n)
    optimiser = _optimiser(network, how)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, how.lr, total_steps=how.epochs * (n // batch_size), pct_start=0.25
    )
    network.train()
    for rows in _batches(n, batch_size, how.epochs, generator):
        optimiser.zero_grad()
        loss(rows).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _optimiser(network: nn.Module, how: Training) -> torch.optim.Optimizer:
    if how.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), how.lr, momentum=0.9, nesterov=True, weight_decay=how.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), how.lr, weight_decay=how.weight_decay)


def _batches(n: int, batch_size: int, epochs: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator)
        for start in range(0, n - batch_size + 1, batch_size):
            yield order[start : start + batch_size]
