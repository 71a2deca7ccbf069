"""The networks of the demo zoo: four small ones of our own, and timm's made small by their own arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Body = tuple[nn.Module, int]


class Normalise(nn.Module):
    """Subtract the training pixels' mean and divide by their deviation; both travel with the weights."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, H, W) images in [0, 1] with mean 0 and deviation 1."""
        return (images - self.mean) / self.std


class Classifier(nn.Module):
    """Normalisation, a body that makes features, and a linear read-out.

    Parameters
    ----------
    body
        (B, 1, H, W) -> (B, n_features), and n_features.
    n_classes
        Length of the read-out.
    mean, std
        Of the training pixels in [0, 1].
    dropout
        Share of the features that are dropped in training.
    """

    def __init__(self, body: Body, n_classes: int, mean: float, std: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.body, self.n_features = body
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.n_features, n_classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the (B, n_features) features of (B, 1, H, W) images in [0, 1]."""
        features: torch.Tensor = self.body(self.normalise(images))
        return features

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, C) logits of (B, 1, H, W) images in [0, 1]."""
        logits: torch.Tensor = self.head(self.dropout(self.features(images)))
        return logits


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2015)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            *_convolution(n_in, n_out, stride),
            nn.ReLU(),
            *_convolution(n_out, n_out, 1),
        )
        same = n_in == n_out and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(n_in, n_out, stride, size=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the rectified sum of both paths."""
        return functional.relu(self.inner(x) + self.shortcut(x))


class MixerBlock(nn.Module):
    """One MLP over places, one over channels (Tolstikhin et al. 2021)."""

    def __init__(self, n_places: int, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.places = _perceptron(n_places, 2 * n_places)
        self.channels = _perceptron(width, 2 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, places, width) mixed along both axes."""
        x = x + self.places(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        mixed: torch.Tensor = x + self.channels(self.norms[1](x))
        return mixed


class Tokens(nn.Module):
    """Cut images into square patches and map each to `width` numbers: (B, 1, H, W) -> (B, places, width)."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(1, width, patch, patch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens, row by row."""
        tokens: torch.Tensor = self.project(images).flatten(2).transpose(1, 2)
        return tokens


class MeanTokens(nn.Module):
    """The mean over places: (B, places, width) -> (B, width)."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the mean token."""
        return tokens.mean(1)


def small_resnet(size: int, *, width: int = 16) -> Body:
    """Return the base model's body: a stem and three residual blocks of width, 2 width, 4 width."""
    stem = [*_convolution(1, width, 2 if size >= 16 else 1), nn.ReLU()]
    blocks = [
        ResidualBlock(width, width, 1),
        ResidualBlock(width, 2 * width, 2),
        ResidualBlock(2 * width, 4 * width, 2),
    ]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4 * width


def plain_convnet(size: int, *, width: int = 16, hidden: int = 128) -> Body:
    """Return a body in the manner of VGG: convolutions and pooling, no shortcut, no normalisation."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, width), (width, 2 * width)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    n_flat = 2 * width * (size // 4) ** 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_flat, hidden), nn.ReLU()), hidden


def mlp(size: int, *, hidden: int = 256, depth: int = 2, dropout: float = 0.2) -> Body:
    """Return fully connected layers with batch normalisation on the bare pixels."""
    layers: list[nn.Module] = [nn.Flatten()]
    for layer in range(depth):
        n_in = size * size if layer == 0 else hidden
        layers += [nn.Linear(n_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers), hidden


def mixer(size: int, *, patch: int = 4, width: int = 64, depth: int = 3) -> Body:
    """Return an MLP-Mixer: patches, then MLPs over places and channels in turn."""
    blocks = [MixerBlock((size // patch) ** 2, width) for _ in range(depth)]
    return nn.Sequential(Tokens(patch, width), *blocks, nn.LayerNorm(width), MeanTokens()), width


BODIES: dict[str, Callable[..., Body]] = {
    "small-resnet": small_resnet,
    "plain-convnet": plain_convnet,
    "mlp": mlp,
    "mixer": mixer,
}
"""Names that a recipe's `architecture` may have, beside `timm/<name>`."""


def build(
    architecture: str, options: dict[str, Any], *, size: int, n_classes: int, mean: float, std: float
) -> nn.Module:
    """Return an untrained network from (B, 1, size, size) images in [0, 1] to (B, n_classes) logits.

    Weights are drawn from torch's global generator. timm's networks come as the second part of a
    `nn.Sequential` whose first part normalises.
    """
    if architecture.startswith("timm/"):
        return nn.Sequential(Normalise(mean, std), build_timm(architecture, options, n_classes))
    options = dict(options)
    dropout = options.pop("head_dropout", 0.0)
    return Classifier(BODIES[architecture](size, **options), n_classes, mean, std, dropout)


def build_timm(architecture: str, options: dict[str, Any], n_classes: int) -> nn.Module:
    """Return timm's network of that name for one channel, made small by `options`."""
    import timm

    name = architecture.removeprefix("timm/")
    network: nn.Module = timm.create_model(name, in_chans=1, num_classes=n_classes, **options)
    return network


def _convolution(n_in: int, n_out: int, stride: int, size: int = 3) -> list[nn.Module]:
    return [nn.Conv2d(n_in, n_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(n_out)]


def _perceptron(n: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n, hidden), nn.GELU(), nn.Linear(hidden, n))
