"""Buffers that blocks are read into: never given out twice while somebody still looks at one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import dissensus as ds
from dissensus.store import blocks
from dissensus.store.buffers import Buffers


def test_a_buffer_is_given_again_only_when_its_last_view_is_gone() -> None:
    buffers = Buffers(16, 32)
    first = buffers.take()
    second = buffers.take()
    assert first is not None
    assert second is not None
    assert buffers.take() is None
    address = first.ctypes.data
    view = first[4:8].view(np.uint16)
    del first
    assert buffers.take() is None  # the view still looks at it
    del view
    again = buffers.take()
    assert again is not None
    assert again.ctypes.data == address


def test_no_buffer_where_the_budget_holds_none() -> None:
    assert Buffers(100, 99).take() is None


def test_threads_never_hold_one_buffer_at_a_time() -> None:
    buffers, doubled = Buffers(8, 64), []

    def use(number: int) -> None:
        for _ in range(300):
            mine = buffers.take()
            if mine is not None:
                mine[:] = number
                if not (mine == number).all():
                    doubled.append(number)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not doubled


@pytest.mark.parametrize("budget", [0, 5_000, 1 << 27])
def test_blocks_kept_by_the_caller_stay_what_they_were(
    small_zoo: ds.Store, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    monkeypatch.setattr(blocks, "_BUDGET_BYTES", budget)
    logits = [small_zoo.logits(m) for m in small_zoo.model_ids]
    rows = np.arange(small_zoo.n_examples)
    kept = list(blocks.read_blocks(logits, rows, 7))
    for number, model in enumerate(small_zoo.model_ids):
        expected = small_zoo.logits(model).centred(0, small_zoo.n_examples)
        np.testing.assert_array_equal(np.concatenate([b.centred[number] for b in kept]), expected)
        assert not any(b.centred[number].flags.writeable for b in kept)
