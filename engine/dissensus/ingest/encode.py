"""The torch twin of `dissensus.store.encoding.encode`: the same rows, computed where the logits are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.store.encoding import Encoded, check_finite, encode, log_probabilities
from dissensus.store.format import FLOOR, STEP

if TYPE_CHECKING:
    from dissensus.store.catalog import Store


@torch.inference_mode()
def encode_tensor(
    logits: torch.Tensor, dtype: str, *, model_id: str, example_ids: Sequence[str], class_names: Sequence[str]
) -> Encoded:
    """Turn logits on any device into stored rows on the host.

    Parameters
    ----------
    logits
        (n, C), any float dtype; taken as float32.
    dtype
        The store's: "float16" or "float32".
    model_id, example_ids, class_names
        Names for the error message.

    Returns
    -------
    Encoded
        Equal to `encode` of the same logits: bit for bit, `lse` to rounding in float64.

    Raises
    ------
    NonFiniteLogits
        NaN or infinity; model, example and class are named.
    """
    x = logits.detach().to(torch.float32)
    if not bool(torch.isfinite(x).all()):
        check_finite(x.cpu().numpy(), model_id, example_ids, class_names)
    rowmax = x.amax(dim=1, keepdim=True)
    centred = (x - rowmax).clamp_(min=FLOOR)
    centred = torch.where(centred < 0, centred.clamp(max=-STEP), centred)  # a loser never ties by rounding
    wide = x.double() - rowmax.double()  # the exact difference: float32 would cost lse half its digits
    lse = rowmax[:, 0].double() + wide.exp().sum(dim=1).log()
    return Encoded(
        centred.to(getattr(torch, dtype)).cpu().numpy(),
        _first_maximum(x, rowmax).cpu().numpy().astype(np.int32),
        rowmax[:, 0].cpu().numpy(),
        lse.cpu().numpy(),
    )


def _first_maximum(x: torch.Tensor, rowmax: torch.Tensor) -> torch.Tensor:
    # torch.argmax leaves open which of equal maxima it returns, and devices differ.
    columns = torch.arange(x.shape[1], device=x.device).expand_as(x)
    return columns.where(x == rowmax, x.shape[1]).amin(dim=1)


def encode_output(
    output: torch.Tensor | NDArray[Any], kind: str, store: Store, model_id: str, start: int
) -> Encoded:
    """Turn what a model returned for the rows from `start` on into stored rows, where the output is.

    Parameters
    ----------
    output
        (n, C) logits or probabilities, as `kind` says.
    kind
        "logits" or "probabilities"; the latter become log(max(p, 2**-126)).
    store
        Gives dtype and names.
    model_id, start
        For messages: the model, and the row of the first example.

    Raises
    ------
    NonFiniteLogits, ArgumentError
        As of `encode` and `log_probabilities`.
    """
    names: dict[str, Any] = {
        "model_id": model_id,
        "example_ids": store.example_ids[start : start + len(output)],
        "class_names": store.classes,
    }
    if kind == "probabilities":
        values = output.detach().cpu().double().numpy() if isinstance(output, torch.Tensor) else output
        return encode(log_probabilities(values, model_id, names["example_ids"]), store.dtype, **names)
    if isinstance(output, torch.Tensor):
        return encode_tensor(output, store.dtype, **names)
    return encode(output, store.dtype, **names)
