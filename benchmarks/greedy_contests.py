"""Comparisons of greedy selection and of calibration, and the seeded candidates of `greedy.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from contests import FLOOR, OWN, Comparison, Way, within
from dissensus.ensemble.certified import CertifiedRunning
from dissensus.ensemble.running import Block, FullRunning, Running
from dissensus.ensemble.views import Views
from dissensus.kernels import probabilities as kernel
from dissensus.kernels.jit import PARALLEL
from dissensus.store.truth import Truth

CHUNK = 1024  # rows made at a time
LIKELY = 6  # classes that all models find likely, the right one among them
STEPS = 4  # of a comparison; a peer in float32 that decides near ties otherwise is found in the first of them


class Seeded:
    """Candidates whose logits follow from their numbers alone.

    Logits are multiples of 1/64: noise, and for the likely classes of an example what all models see in it,
    more of the right one for models of more skill.
    """

    floor = 0

    def __init__(self, n_models: int, n_examples: int, n_classes: int) -> None:
        rng = np.random.default_rng(0)
        self.n_models, self.n_classes = n_models, n_classes
        labels = rng.integers(0, n_classes, n_examples)
        self.truth = Truth.of("seeded", labels, n_classes)
        self._likely = rng.integers(0, n_classes, (n_examples, LIKELY))
        self._likely[:, 0] = labels
        seen = rng.normal(5, 2, (n_examples, LIKELY))
        seen[:, 0] += rng.normal(2.5, 2.5, n_examples)
        self._seen = (seen * 64).astype(np.int64)
        self._skill = (rng.uniform(0, 1, n_models) * 64).astype(np.int64)
        self._noise = (rng.normal(0, 1.2, 4096) * 64).astype(np.int64)
        self._codes = (-np.arange(1 << 12) / 64).astype(np.float16).view(np.uint16)
        self._table = kernel.exponentials(np.dtype(np.uint16), 1.0)

    def codes(self, model: int, places: NDArray[np.intp]) -> NDArray[np.uint16]:
        """Logits as float16 bit patterns, (r, C)."""
        out = np.empty((len(places), self.n_classes), np.uint16)
        with PARALLEL:
            _codes(model, places, self._likely, self._seen, self._skill, self._noise, self._codes, out)
        return out

    def rows(self, candidate: int, places: NDArray[np.intp]) -> NDArray[np.uint32]:
        """Fixed-point probabilities, (r, C)."""
        codes = self.codes(candidate, places)
        q = np.empty(codes.shape, np.uint32)
        kernel.fixed_point_rows(codes, self._table, q)
        return q

    @cached_property
    def views(self) -> Views:
        """Views of all models on all examples."""
        return self.viewed()

    def viewed(self) -> Views:
        """Make them."""
        views = Views.empty(self.truth, self.n_classes, self.n_models)
        for start in range(0, len(self.truth), CHUNK):
            places = np.arange(start, min(start + CHUNK, len(self.truth)))
            for model in range(self.n_models):
                views.fill(model, start, start + len(places), self.codes(model, places), self._table)
        return views


class InMemory:
    """The same candidates with all of their probabilities in memory."""

    floor = 0

    def __init__(self, seeded: Seeded) -> None:
        self.seeded = seeded
        self.truth, self.n_classes, self.views = seeded.truth, seeded.n_classes, seeded.views
        everywhere = np.arange(len(seeded.truth))
        self.q = np.empty((seeded.n_models, len(seeded.truth), seeded.n_classes), np.uint32)
        for model in range(seeded.n_models):
            self.q[model] = seeded.rows(model, everywhere)

    def rows(self, candidate: int, places: NDArray[np.intp]) -> NDArray[np.uint32]:
        """Fixed-point probabilities, (r, C)."""
        return self.q[candidate].take(places, axis=0)

    def blocks(self) -> Iterator[Block]:
        """Everything at once."""
        yield Block(0, len(self.truth), self.q)


@numba.njit(cache=True)
def _mixed(x: Any) -> Any:
    """SplitMix64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(parallel=True, cache=True)
def _codes(
    model: int, places: Any, likely: Any, seen: Any, skill: Any, noise: Any, codes: Any, out: Any
) -> None:
    n_classes = out.shape[1]
    for i in numba.prange(len(places)):
        n, z = places[i], np.empty(n_classes, np.int64)
        seed = _mixed(np.uint64(model) * np.uint64(1 << 32) + np.uint64(n))
        for c in range(0, n_classes, 5):  # 12 bits for each of five classes
            bits = _mixed(seed + np.uint64(c))
            for k in range(min(5, n_classes - c)):
                z[c + k] = noise[(bits >> np.uint64(12 * k)) & np.uint64(4095)]
        for k in range(likely.shape[1]):
            z[likely[n, k]] += seen[n, k]
        z[likely[n, 0]] += skill[model]
        top = z.max()
        for c in range(n_classes):
            out[i, c] = codes[min(top - z[c], len(codes) - 1)]


class Float32:
    """What one would write by hand: float32 sums, all classes of all candidates, on all cores."""

    def __init__(self, q: NDArray[np.uint32], labels: NDArray[Any]) -> None:
        self.p, self._labels = np.empty(q.shape, np.float32), labels.astype(np.int64)
        for m in range(len(q)):
            np.multiply(q[m], np.float32(2.0**-31), out=self.p[m], casting="unsafe")
        self.total = np.zeros(q.shape[1:], np.float32)

    def step(self) -> int:
        """Take the best candidate in."""
        hits = np.zeros(len(self.p), np.int64)
        _float32_hits(self.total, self.p, self._labels, hits)
        self.total += self.p[hits.argmax()]
        return int(hits.max())


@numba.njit(parallel=True, fastmath=True, cache=True)
def _float32_hits(total: Any, p: Any, labels: Any, out: Any) -> None:
    for m in numba.prange(p.shape[0]):
        hits = 0
        for n in range(p.shape[1]):
            y = labels[n]
            best, above = total[n, y] + p[m, n, y], np.int32(0)
            for c in range(p.shape[2]):
                above |= np.int32(total[n, c] + p[m, n, c] > best)
            hits += 1 - above
        out[m] = hits


def step(
    running: Running, everybody: NDArray[np.intp], weights: NDArray[np.int64], chosen: list[int]
) -> None:
    """Take the first of the best candidates in."""
    chosen.append(int(running.leaders(everybody, weights)[0]))
    running.add(chosen[-1])


# greedy selection by accuracy


def candidates(place: Path, models: int, examples: int, classes: int) -> InMemory:
    return InMemory(Seeded(models, examples, classes))


def selected(running: Callable[[], Running], n_models: int, n_examples: int) -> Callable[[], NDArray[Any]]:
    """Right answers after each of some steps, from nothing."""
    everybody, weights = np.arange(n_models), np.ones(n_examples, np.int64)

    def run() -> NDArray[Any]:
        at_work, chosen, hits = running(), [], []
        for _ in range(STEPS):
            step(at_work, everybody, weights, chosen)
            hits.append(int(at_work.right.sum()))
        return np.array([chosen, hits])

    return run


def certified(source: InMemory) -> Callable[[], NDArray[Any]]:
    """Views are made as they would be of rows that are read: a set-up."""
    viewed = copy(source)
    viewed.views = source.seeded.viewed()
    return selected(lambda: CertifiedRunning(viewed), *source.q.shape[:2])


def brute_force(source: InMemory) -> Callable[[], NDArray[Any]]:
    return selected(lambda: FullRunning(source), *source.q.shape[:2])


def by_hand(source: InMemory) -> Callable[[], NDArray[Any]]:
    adding = Float32(source.q, source.truth.labels)

    def run() -> NDArray[Any]:
        adding.total[:] = 0
        return np.array([adding.step() for _ in range(STEPS)])

    return run


def steps_agree(name: str, found: NDArray[Any], ours: NDArray[Any]) -> None:
    """Members and right answers of ours are the same.

    Float32 sums may tie where exact ones do not, and what is compared by hand takes ties for right: those of
    equal logits, in the first step, are more.
    """
    if found.ndim == 1:
        within(absolute=max(1.0, 1e-4 * ours[1].max()))(name, found[1:], ours[1][1:])
        within(relative=0.005, absolute=1)(name, found[0], ours[1][0])
    else:
        within()(name, found, ours)


GREEDY = Comparison(
    "greedy selection by accuracy",
    "How much faster than brute force are exact steps of greedy selection, all probabilities in memory?",
    candidates,
    small={"models": 5, "examples": 200, "classes": 30},
    large={"models": 40, "examples": 5_000, "classes": 1_000},
    ways={
        "dissensus, certified": Way(certified),
        "dissensus, brute force": Way(brute_force, kind=OWN, once=True),
        "parallel float32 brute force (numba)": Way(by_hand, kind=FLOOR),
    },
    equal=steps_agree,
    tolerance="exactly (float32 sums to one answer in 10,000, but for ties in the first step)",
    scaled=tuple({"models": m, "examples": 5_000, "classes": 1_000} for m in (10, 20, 40)),
)


# the best temperature of a model


def logits_of_one(place: Path, examples: int, classes: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """float16 logits that are too sure, maximum 0, and labels."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, classes, examples)
    z = 3 * rng.standard_normal((examples, classes), np.float32)
    z[np.arange(examples), labels] += 8 + 6 * rng.standard_normal(examples).astype(np.float32)
    return (z - z.max(axis=1, keepdims=True)).astype(np.float16), labels


def by_newton(given: tuple[NDArray[np.float16], NDArray[np.int64]]) -> Callable[[], float | None]:
    from dissensus.kernels.temperatures import best_temperature

    codes, labels = kernel.codes_of(given[0]), given[1].astype(np.int32)
    offsets = np.arange(len(labels) + 1)
    return lambda: best_temperature(codes, offsets, labels)


def by_scipy(given: tuple[NDArray[np.float16], NDArray[np.int64]]) -> Callable[[], float]:
    """Bounded minimum of the NLL, computed with NumPy in float32."""
    from scipy.optimize import minimize_scalar

    z, every, labels = given[0].astype(np.float32), np.arange(len(given[1])), given[1]

    def nll(log_t: float) -> float:
        scaled = z * np.float32(np.exp(-log_t))
        total = np.log(np.exp(scaled).sum(axis=1)) - scaled[every, labels]
        return float(total.mean(dtype=np.float64))

    options = {"bounds": (-4.0, 4.0), "method": "bounded", "options": {"xatol": 1e-5}}
    return lambda: float(np.exp(minimize_scalar(nll, **options).x))


def by_lbfgs(given: tuple[NDArray[np.float16], NDArray[np.int64]]) -> Callable[[], float]:
    """Cross entropy and L-BFGS in torch, as the reference code of Guo et al. (2017) has it."""
    import torch

    z, labels = torch.from_numpy(given[0].astype(np.float32)), torch.from_numpy(given[1])

    def run() -> float:
        temperature = torch.full((1,), 1.5, requires_grad=True)
        search = torch.optim.LBFGS([temperature], lr=0.1, max_iter=100)

        def loss() -> Any:
            search.zero_grad()
            value = torch.nn.functional.cross_entropy(z / temperature, labels)
            value.backward()
            return value

        search.step(loss)
        return float(temperature.detach()[0])

    return run


TEMPERATURE = Comparison(
    "temperature of a model",
    "How much faster than the usual optimisers is a model calibrated?",
    logits_of_one,
    small={"examples": 400, "classes": 12},
    large={"examples": 10_000, "classes": 1_000},
    ways={
        "dissensus, Newton on stored codes": Way(by_newton),
        "scipy minimize_scalar, NumPy": Way(by_scipy, needs="scipy", once=True),
        "torch L-BFGS": Way(by_lbfgs, needs="torch", once=True),
    },
    equal=within(relative=5e-3),
    tolerance="to 0.5 %",
)
SELECTION = (GREEDY, TEMPERATURE)
