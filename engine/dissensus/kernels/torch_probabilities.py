"""Kernels of `probabilities` by torch, on a processor or a GPU: same names, same integers.

Fixed-point probabilities are held less 2**30, which an int32 holds whatever they are; a constant for all
classes changes no comparison of them. Right classes are (n, S), -1 where an example has fewer than S.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from .probabilities import ONE

SHIFT = 2**30
HELD_BYTES = 1 << 26  # of sums that are compared at a time on a processor
HELD_ON_GPU_BYTES = 1 << 30


def sent(array: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Return an array on a device."""
    return torch.from_numpy(array).to(device)


def stacked(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """M tensors (n, C) as one, (M, n, C)."""
    return torch.stack(list(tensors))


def fixed_point(
    codes: torch.Tensor, table: torch.Tensor, right: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of one model.

    Parameters
    ----------
    codes : (n, C) int16
        Bit patterns of float16 rows.
    table : (32768,) float64
        From `probabilities.exponentials`.
    right : (n, S) int64
        Right classes.

    Returns
    -------
    q : (n, C) int32
        rint(p * 2**31) - 2**30.
    p_truth : (n,) float64
        Probability of the right classes together.
    """
    powers = table[codes.T.to(torch.int64) & 0x7FFF]  # by class: each addition is then of neighbours
    total = torch.zeros_like(powers[0])
    for power in powers:  # in class order, which is part of the definition: torch.sum has another
        total += power
    q = (powers / total * ONE).round_().to(torch.int64).sub_(SHIFT).to(torch.int32)
    p_truth = torch.zeros_like(total)
    for k in range(right.shape[1]):
        power = powers.gather(0, right[None, :, k].clamp(min=0))[0]
        p_truth += torch.where(right[:, k] >= 0, power, 0.0)
    return q.T.contiguous(), p_truth / total


def scaled_rows(codes: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """rint(z / T * 2**24) of float16 bit patterns (n, C), from a table of `scaled_logits`: (n, C) int64."""
    return table[codes.to(torch.int64) & 0x7FFF].to(torch.int64)


def hits_if_added(
    total: torch.Tensor,
    q: torch.Tensor,
    candidates: torch.Tensor,
    right: torch.Tensor,
    weights: torch.Tensor,
    held_bytes: int | None = None,
) -> torch.Tensor:
    """Weight of the examples that the ensemble gets right with each candidate added.

    Parameters
    ----------
    total : (n, C) int64
        Sum of the members' q.
    q : (M, n, C) int32 or int64
        Models.
    candidates : (k,) int64
        Which of them are candidates.
    right : (n, S) int64
        Right classes.
    weights : (n,) int64
        What each example counts.
    held_bytes : int, optional
        Sums compared at a time.

    Returns
    -------
    (k,) int64
        Of the examples whose largest entry of total + q[m], the lowest class on ties, is a right one.
    """
    if held_bytes is None:
        held_bytes = HELD_BYTES if total.device.type == "cpu" else HELD_ON_GPU_BYTES
    step = max(1, held_bytes // max(8 * total.numel(), 1))
    hits = []
    for some in torch.split(candidates, step):
        first = (total + q[some]).argmax(dim=2)  # the lowest class on ties, as torch documents it
        hits.append(((first[..., None] == right).any(dim=2) * weights).sum(dim=1))
    return torch.cat(hits)
