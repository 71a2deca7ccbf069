"""Random changes to batches of images: (B, 1, H, W) floats in [0, 1] in, the same out; dark is 0."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from .recipes import Training


def augment(images: torch.Tensor, how: Training, generator: torch.Generator) -> torch.Tensor:
    """Return the batch shifted, mirrored and cut as a training run says."""
    if how.shift or how.flip:
        images = shift_flip(images, how.shift, how.flip, generator)
    return cutout(images, how.cutout, generator) if how.cutout else images


def shift_flip(images: torch.Tensor, shift: int, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Move each image by up to `shift` pixels both ways, and mirror half of them."""
    n, _, height, width = images.shape
    down, right = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=generator)
    mirrored = (torch.rand(n, 1, generator=generator) < 0.5) & flip
    columns = torch.arange(width)[None]
    columns = torch.where(mirrored, width - 1 - columns, columns) + right
    rows = torch.arange(height)[None] + down
    padded = functional.pad(images, (shift,) * 4)[:, 0]
    return padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]][:, None]


def cutout(images: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """Blacken a square of `side` pixels at a random place of each image (DeVries and Taylor 2017)."""
    n, _, height, width = images.shape
    top = torch.randint(1 - side // 2, height - side // 2, (n, 1, 1), generator=generator)
    left = torch.randint(1 - side // 2, width - side // 2, (n, 1, 1), generator=generator)
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return images.masked_fill(inside[:, None], 0.0)


def mixup(
    images: torch.Tensor, targets: torch.Tensor, strength: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix each image and its (B, C) target with another one of the batch (Zhang et al. 2017)."""
    share = _beta(strength, generator)
    other = torch.randperm(len(images), generator=generator)
    return share * images + (1 - share) * images[other], share * targets + (1 - share) * targets[other]


def contrastive_view(images: torch.Tensor, flip: bool, generator: torch.Generator) -> torch.Tensor:
    """Return one random view of each image: cropped, stretched, turned, mirrored, dimmed, with a hole.

    The transformations are SimCLR's (Chen et al. 2020) as far as they make sense for grey images.
    """
    n, _, size, _ = images.shape
    angle = (torch.rand(n, generator=generator) - 0.5) * math.radians(30)
    zoom = 0.6 + 0.5 * torch.rand(2, n, generator=generator)
    mirror = torch.where(torch.rand(n, generator=generator) < (0.5 if flip else 0.0), -1.0, 1.0)
    move = (torch.rand(2, n, generator=generator) - 0.5) * 0.5
    first = torch.stack([zoom[0] * angle.cos() * mirror, -zoom[1] * angle.sin(), move[0]], 1)
    second = torch.stack([zoom[0] * angle.sin() * mirror, zoom[1] * angle.cos(), move[1]], 1)
    grid = functional.affine_grid(torch.stack([first, second], 1), list(images.shape), align_corners=False)
    views = functional.grid_sample(images, grid, align_corners=False)
    contrast = 0.6 + 0.8 * torch.rand(n, 1, 1, 1, generator=generator)
    return cutout((views * contrast).clamp(0, 1), size // 4, generator)


def _beta(strength: float, generator: torch.Generator) -> float:
    """Draw from Beta(strength, strength), strength <= 1, by rejection (Jöhnk 1964)."""
    while True:
        first, second = (torch.rand(2, generator=generator, dtype=torch.float64) ** (1 / strength)).tolist()
        if 0 < first + second <= 1:
            return float(first / (first + second))
