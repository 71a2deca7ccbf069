"""The counts of `counts` and `labels` by torch, on a processor or a GPU: same names, shapes and numbers.

Joint counts are matrix products of zeros and ones over blocks of examples, few enough that every count of a
block is a whole number which the product's type can hold; blocks are summed in int64. Same answers are
compared: as products of one-hot rows they would take a product for each class.
"""

from __future__ import annotations

import numpy as np
import torch

from .bits import Counts, Packed, Planes, bytes_of

# by type of numbers, examples up to which all counts are exact
EXACT = {torch.float32: 2**24, torch.float16: 2**11, torch.bfloat16: 2**8}
# by kind of device, the type: tensor cores multiply 16 bits; processors without them take longer that way
NUMBERS = {"cpu": torch.float32, "cuda": torch.float16}
BLOCK = 2**13  # examples of a product at most: more take memory and gain nothing
COMPARED = 1 << 26  # comparisons held at a time, a byte each


def both_right(packed: Packed, device: torch.device, numbers: torch.dtype | None = None) -> Counts:
    """Count, for every pair of models, the examples both get right.

    Parameters
    ----------
    packed : (M, W) uint64
        From `bits.pack`.
    device : torch.device
        Where it is counted.
    numbers : torch.dtype, optional
        One of `EXACT`; by default what suits the device.

    Returns
    -------
    (M, M) int64
    """
    numbers = NUMBERS[device.type] if numbers is None else numbers
    words, out = _sent(packed, device), torch.zeros((len(packed),) * 2, dtype=torch.int64, device=device)
    step = min(EXACT[numbers], BLOCK) // 8
    for start in range(0, words.shape[1], step):
        right = _unpacked(words[:, start : start + step]).to(numbers)
        out += (right @ right.T).to(torch.int64)
    return _back(out)


def same(planes: Planes, counted: Packed, device: torch.device) -> Counts:
    """Count, for every pair of models, the examples both give the same class.

    Parameters
    ----------
    planes : (M, P, W) uint64
        From `bits.pack_labels`.
    counted : (M, W) uint64
        Examples to count, as in `labels.same`.
    device : torch.device
        Where it is counted.

    Returns
    -------
    (M, M) int64
    """
    bits, among, size = _sent(planes, device), _sent(counted, device), len(planes)
    out = torch.zeros((size, size), dtype=torch.int64, device=device)
    for start in range(0, among.shape[1], BLOCK // 8):
        classes = _classes(bits[:, :, start : start + BLOCK // 8])
        right = _unpacked(among[:, start : start + BLOCK // 8]).bool()
        rows = max(1, COMPARED // max(1, right.numel()))
        for top in range(0, size, rows):
            some = slice(top, top + rows)
            equal = (classes[some, None] == classes[None]) & right[some, None]
            out[some] += equal.sum(dim=2)
    return _back(out)


def _sent(packed: Packed, device: torch.device) -> torch.Tensor:
    """Words as bytes, on the device."""
    return torch.from_numpy(bytes_of(packed)).to(device)


def _unpacked(words: torch.Tensor) -> torch.Tensor:
    """Bits of bytes, lowest first: (…, B) uint8 -> (…, 8 B) uint8 of zeros and ones."""
    places = torch.arange(8, dtype=torch.uint8, device=words.device)
    return (words[..., None] >> places & 1).flatten(-2)


def _classes(planes: torch.Tensor) -> torch.Tensor:
    """Class numbers of bit planes: (M, P, B) uint8 -> (M, 8 B) int32."""
    numbers = torch.zeros((len(planes), 8 * planes.shape[2]), dtype=torch.int32, device=planes.device)
    for p in range(planes.shape[1]):
        numbers |= _unpacked(planes[:, p]).to(torch.int32) << p
    return numbers


def _back(counts: torch.Tensor) -> Counts:
    found: Counts = counts.cpu().numpy().astype(np.int64, copy=False)
    return found
