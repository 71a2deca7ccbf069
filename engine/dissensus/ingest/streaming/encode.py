"""The torch twin of `dissensus.store.encoding.encode`: the same rows, made on the device of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dissensus.errors import NonFiniteLogits
from dissensus.store.encoding import Encoded, check_finite, encode, log_probabilities
from dissensus.store.format import FLOOR, STEP, TOP_FROM, TOP_K

_LAST = 0x7FFFFFFF  # larger than any class


@dataclass(frozen=True)
class DeviceRows:
    """Stored rows of one batch, still where the logits are.

    Attributes
    ----------
    centred, top1, rowmax, lse
        As of `Encoded`.
    finite
        One boolean: whether every logit is. It is looked at when the rows are on the host, so that the device
        need not be waited for.
    top
        The top-K view, `top_classes` and `top_values` of `Encoded`; empty of few classes.
    logits
        What the model gave, for the message about what is not finite.
    """

    centred: torch.Tensor
    top1: torch.Tensor
    rowmax: torch.Tensor
    lse: torch.Tensor
    finite: torch.Tensor
    logits: torch.Tensor
    top: tuple[torch.Tensor, ...] = ()

    @property
    def results(self) -> list[torch.Tensor]:
        """What the host needs, in the order in which `to_rows` takes it."""
        return [self.centred, self.top1, self.rowmax, self.lse, *self.top, self.finite]


@torch.inference_mode()
def encode_there(logits: torch.Tensor, dtype: str) -> DeviceRows:
    """Make stored rows of logits on any device, without waiting for it.

    Parameters
    ----------
    logits
        (n, C), any float dtype; taken as float32.
    dtype
        The store's: "float16" or "float32".
    """
    logits = logits.detach()  # rows wait for the writer: what autograd keeps for them must not
    x = logits.to(torch.float32)
    # NaN goes through both; torch.aminmax of rows is 20 times slower on the CPU
    rowmin, rowmax = x.amin(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)
    centred = x - rowmax
    first = _first_classes(x) if x.shape[1] >= TOP_FROM else None
    # all large arrays in place, and one after the other: pages of a new one take longer than the arithmetic
    centred.clamp_(FLOOR, -STEP).masked_fill_(x == rowmax, 0)  # no loser ties by rounding
    top: tuple[torch.Tensor, ...] = ()
    if first is None:
        top1 = _first_true(centred == 0)
    else:
        top1, top = first[:, 0].int(), (first[:, :TOP_K].int(), centred.gather(1, first))
    # the exact difference: float32 would cost lse half its digits
    wide = x.double().sub_(rowmax)
    lse = rowmax[:, 0].double() + wide.exp_().sum(dim=1).log_()
    finite = torch.isfinite(rowmin).all() & torch.isfinite(rowmax).all()
    return DeviceRows(centred.to(getattr(torch, dtype)), top1, rowmax[:, 0], lse, finite, logits, top)


def _first_classes(x: torch.Tensor) -> torch.Tensor:
    """First classes of rows, one more than are kept, in order; of equal values the lowest class first.

    The twin of `dissensus.store.ranking.top_classes`. torch.topk leaves open which of equal values it takes;
    integers that hold value and class differ.
    """
    classes = torch.arange(x.shape[1], device=x.device)
    bits = (x + 0.0).view(torch.int32)  # -0 is 0
    ascending = bits.bitwise_xor_((bits >> 31).bitwise_and_(0x7FFFFFFF))
    keys = ascending.long().bitwise_left_shift_(32).bitwise_or_(_LAST - classes)
    return _LAST - (keys.topk(TOP_K + 1, dim=1).values & 0xFFFFFFFF)


def to_rows(
    results: Sequence[NDArray[Any]],
    logits: torch.Tensor,
    model_id: str,
    example_ids: Sequence[str],
    class_names: Sequence[str],
) -> Encoded:
    """Return the rows that `encode_there` made, once they are on the host.

    Raises
    ------
    NonFiniteLogits
        NaN or infinity; model, example and class are named.
    """
    *columns, finite = results
    if not finite:
        check_finite(logits.detach().to(torch.float32).cpu().numpy(), model_id, example_ids, class_names)
        raise NonFiniteLogits(  # a model that writes into one buffer again and again has changed it by now
            f"model {model_id!r} gave NaN or infinity, examples {example_ids[0]!r} to {example_ids[-1]!r}"
        )
    return Encoded(*columns)


def _first_true(rows: torch.Tensor) -> torch.Tensor:
    # torch.argmax leaves open which of equal maxima it returns, and devices differ.
    columns = torch.arange(rows.shape[1], dtype=torch.int32, device=rows.device).expand_as(rows)
    return columns.where(rows, rows.shape[1]).amin(dim=1)


def on_host(output: Any, kind: str) -> NDArray[Any]:
    """Copy what a model returned to the host: it may write its next batch into the same memory."""
    if not isinstance(output, torch.Tensor):
        return np.array(output)
    dtype = torch.float32 if kind == "logits" else torch.float64
    copied: NDArray[Any] = output.detach().cpu().to(dtype, copy=True).numpy()
    return copied


def encode_here(
    scores: NDArray[Any],
    kind: str,
    dtype: str,
    model_id: str,
    example_ids: Sequence[str],
    class_names: Sequence[str],
) -> Encoded:
    """Turn logits or probabilities on the host into stored rows.

    Parameters
    ----------
    scores
        (n, C), logits or probabilities as `kind` says; probabilities become log(max(p, 2**-126)).

    Raises
    ------
    NonFiniteLogits, ArgumentError
        As of `encode` and `log_probabilities`.
    """
    names: dict[str, Any] = {"model_id": model_id, "example_ids": example_ids, "class_names": class_names}
    if kind == "probabilities":
        scores = log_probabilities(scores, model_id, example_ids)
    return encode(scores, dtype, **names)
