"""Views of many models on chosen rows, made in one pass over the store: what exact decisions mostly need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dissensus.kernels import probabilities as kernel
from dissensus.kernels import views as view_kernel
from dissensus.kernels.known import Seen
from dissensus.store.blocks import read_blocks
from dissensus.store.catalog import Store
from dissensus.store.splits import Rows
from dissensus.store.truth import Truth

ROWS = 1024  # examples of a block: what the kernel scatters over the models stays near the processor


@dataclass(frozen=True, eq=False)
class Views:
    """First classes of M models on n examples, as integers: q = rint(p * 2**31), or logits in fixed point.

    Examples come first and models last: what is compared for one example lies side by side.

    Attributes
    ----------
    truth : Truth
        Right classes of the n examples, none of them empty; R in all.
    n_classes : int
        Number of classes C.
    classes : (n, K, M) uint16, or uint32 beyond 65,536 classes
        Classes by rank, K = min(8, C): the largest first, of equal ones the lowest.
    q : (n, K, M) uint32
        Their q.
    tail : (n, M) uint32
        The largest q of the classes that are not in the view; 0 if there are none.
    right : (R, M) uint32
        q of the right classes, laid out as ``truth.classes``.
    p_truth : (n, M) float64
        Probability of the right classes together; (n, 0) of logits.

    Of logits, the integers are rint(z / T * 2**24) int64, at most 0.
    """

    truth: Truth
    n_classes: int
    classes: NDArray[Any]
    q: NDArray[Any]
    tail: NDArray[Any]
    right: NDArray[Any]
    p_truth: NDArray[np.float64]

    @classmethod
    def empty(cls, truth: Truth, n_classes: int, n_models: int, logits: bool = False) -> Views:
        """Views yet to be filled, of probabilities or of logits."""
        dtype = np.int64 if logits else np.uint32
        n, k = len(truth), view_kernel.ranks_of(n_classes)
        return cls(
            truth,
            n_classes,
            np.empty((n, k, n_models), view_kernel.class_dtype(n_classes)),
            np.empty((n, k, n_models), dtype),
            np.empty((n, n_models), dtype),
            np.empty((len(truth.classes), n_models), dtype),
            np.empty((n, 0 if logits else n_models)),
        )

    @classmethod
    def of(
        cls, store: Store, model_ids: Sequence[str], rows: Rows, temperatures: Mapping[str, float]
    ) -> Views:
        """Make them in one pass over the logits, block by block.

        Parameters
        ----------
        store : Store
            Where the logits lie.
        model_ids : sequence of str
            M models with logits or probabilities.
        rows : (n,) intp
            Sorted rows of the store, all counted under its labels.
        temperatures : mapping of str to float
            Temperature of each model.
        """
        views = cls.empty(store.truth.take(rows), store.n_classes, len(model_ids))
        logits = [store.logits(m) for m in model_ids]
        tables = [kernel.exponentials(kernel.dtype_of_codes(store.dtype), temperatures[m]) for m in model_ids]
        for block in read_blocks(logits, rows, ROWS):
            for m, centred in enumerate(block.centred):
                views.fill(m, block.start, block.stop, kernel.codes_of(centred), tables[m])
        return views

    def fill(self, model: int, start: int, stop: int, codes: kernel.Codes, table: kernel.Table) -> None:
        """Fill in one model on the examples start:stop, from (stop - start, C) codes and its exponentials."""
        offsets = self.truth.offsets[start : stop + 1]
        view_kernel.fill_view(
            codes,
            table,
            offsets,
            self.truth.classes,
            model,
            self.classes[start:stop],
            self.q[start:stop],
            self.tail[start:stop],
            self.right[offsets[0] : offsets[-1]],
            self.p_truth[start:stop],
            np.empty((0, self.p_truth.shape[1])),
        )

    def fill_logits(
        self, model: int, start: int, stop: int, codes: kernel.Codes, table: kernel.Table, floor: int
    ) -> None:
        """Do as `fill` for views of logits, none of them below the floor."""
        offsets = self.truth.offsets[start : stop + 1]
        view_kernel.fill_logit_view(
            codes,
            table,
            offsets,
            self.truth.classes,
            model,
            floor,
            self.classes[start:stop],
            self.q[start:stop],
            self.tail[start:stop],
            self.right[offsets[0] : offsets[-1]],
        )

    @property
    def seen(self) -> Seen:
        """As kernels take them."""
        truth = self.truth
        return Seen(self.classes, self.q, self.tail, self.right, truth.offsets, truth.classes)

    @property
    def n_bytes(self) -> int:
        """Memory that they take."""
        return sum(a.nbytes for a in (self.classes, self.q, self.tail, self.right, self.p_truth))


def views_bytes(n_models: int, truth: Truth, n_classes: int, logits: bool = False) -> int:
    """Memory that views will take: 64 bytes a model and example with one right class and 8 ranks.

    Those of logits take 96.
    """
    size = 8 if logits else 4
    each = view_kernel.ranks_of(n_classes) * (size + view_kernel.class_dtype(n_classes).itemsize) + size
    return n_models * ((each + 8 * (not logits)) * len(truth) + size * len(truth.classes))
