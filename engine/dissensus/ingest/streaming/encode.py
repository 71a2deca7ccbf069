"""The torch twin of `dissensus.store.encoding.encode`: the same rows, computed where the logits are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from dissensus.errors import NonFiniteLogits
from dissensus.store.encoding import Encoded, check_finite, encode, log_probabilities
from dissensus.store.format import FLOOR, STEP, TOP_FROM, TOP_K

GROUP = 8  # classes of which one maximum is taken in the search for the first ones
_FEWEST_GROUPS = 40  # with fewer there is little to leave out
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
    if first is not None and _runners_up_are_clear(centred, first):
        centred.clamp_(min=FLOOR)  # the maximum is 0 already, and nothing comes near it
    else:
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


def _runners_up_are_clear(centred: torch.Tensor, first: torch.Tensor) -> bool:
    """Whether the second of every row is so far below the first that no rounding makes them equal.

    Looked at on the host only: a device would have to be waited for.
    """
    return centred.device.type == "cpu" and bool((centred.gather(1, first[:, 1:2]) <= -STEP).all())


def _first_classes(x: torch.Tensor) -> torch.Tensor:
    """First classes of rows, one more than are kept, in order; of equal values the lowest class first.

    The twin of `dissensus.store.ranking.top_classes`. On the host most classes need not be looked at: the
    first ones lie in the groups with the largest maxima, where it is clear which groups these are.
    """
    n_groups = x.shape[1] // GROUP
    if x.device.type != "cpu" or n_groups < _FEWEST_GROUPS:
        return _first_of(x, torch.arange(x.shape[1], device=x.device).expand_as(x))
    whole = n_groups * GROUP
    maxima = x[:, :whole].view(len(x), GROUP, n_groups).amax(dim=1)
    largest = maxima.topk(TOP_K + 2, dim=1)
    if not (largest.values[:, -2] > largest.values[:, -1]).all():  # equal, or NaN
        return _first_of(x, torch.arange(x.shape[1]).expand_as(x))
    members = largest.indices[:, :-1, None] + n_groups * torch.arange(GROUP)
    rest = torch.arange(whole, x.shape[1]).expand(len(x), -1)
    classes = torch.cat([members.flatten(1), rest], dim=1)
    return _first_of(x.gather(1, classes), classes)


def _first_of(values: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """First of some classes of each row: (n, k) values and what classes they are of.

    torch.topk leaves open which of equal values it takes; integers that hold value and class differ.
    """
    bits = (values + 0.0).view(torch.int32)  # -0 is 0
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


def encode_tensor(
    logits: torch.Tensor, dtype: str, *, model_id: str, example_ids: Sequence[str], class_names: Sequence[str]
) -> Encoded:
    """Turn logits on any device into stored rows on the host: `encode_there`, waited for.

    Returns
    -------
    Encoded
        Equal to `encode` of the same logits: bit for bit, `lse` to rounding in float64.

    Raises
    ------
    NonFiniteLogits
        NaN or infinity; model, example and class are named.
    """
    rows = encode_there(logits, dtype)
    results = [result.cpu().numpy() for result in rows.results]
    return to_rows(results, logits, model_id, example_ids, class_names)


def _first_true(rows: torch.Tensor) -> torch.Tensor:
    # torch.argmax leaves open which of equal maxima it returns, and devices differ.
    columns = torch.arange(rows.shape[1], dtype=torch.int32, device=rows.device).expand_as(rows)
    return columns.where(rows, rows.shape[1]).amin(dim=1)


def encode_here(
    output: Any, kind: str, dtype: str, model_id: str, example_ids: Sequence[str], class_names: Sequence[str]
) -> Encoded:
    """Turn what a model returned on the host, or probabilities from anywhere, into stored rows.

    Parameters
    ----------
    output
        (n, C) array or tensor of logits or probabilities, as `kind` says; probabilities become
        log(max(p, 2**-126)).

    Raises
    ------
    NonFiniteLogits, ArgumentError
        As of `encode` and `log_probabilities`.
    """
    names: dict[str, Any] = {"model_id": model_id, "example_ids": example_ids, "class_names": class_names}
    values = output.detach().cpu().double().numpy() if isinstance(output, torch.Tensor) else output
    if kind == "probabilities":
        values = log_probabilities(values, model_id, example_ids)
    return encode(values, dtype, **names)
