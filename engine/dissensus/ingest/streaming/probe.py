"""A quick look at how long things take: a batch is read and prepared, and a few models run on part of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..zoo.execution import Execution
from ..zoo.models import leave_device
from ..zoo.outline import UNKNOWN, Outline
from .batches import own
from .checks import check_first, wrong_class_count
from .failures import Failure

if TYPE_CHECKING:
    from ..data.examples import ExampleSource, Images
    from ..zoo.models import ModelSource, Predictor
    from .devices import Host

BUDGET_S = 20.0  # for all models together
_ONE_S = 1.5  # for one model, and for one preprocessing
_PEAK_S = 5.0  # at most, for the memory of a whole batch
_TELLING_BYTES = 16 << 20  # below, a pass takes little beside what every first pass takes
_FEW = 8  # examples, of which a pass says little: starting threads takes as long as computing


@dataclass(frozen=True)
class Timed:
    """A model that was run.

    Attributes
    ----------
    example_s
        Seconds an example.
    load_s
        Seconds until it was loaded.
    n_examples
        How many examples it was given.
    prepare_s, prepared_bytes
        Seconds to prepare one of them, and what it takes.
    peak_bytes
        Most memory that a pass of these took beside weights and input; None where it cannot be told.
    params, weights_bytes
        As the loaded model records them, None where it does not.
    """

    example_s: float
    load_s: float
    n_examples: int
    prepare_s: float
    prepared_bytes: int
    peak_bytes: int | None = None
    params: int | None = None
    weights_bytes: int | None = None

    def told(self, outline: Outline) -> Outline:
        """Return an outline with what is known of the model since it was loaded."""
        found = {name: getattr(self, name) for name in ("params", "weights_bytes")}
        return replace(outline, **{k: v for k, v in found.items() if getattr(outline, k) is None})

    def pass_bytes(self, n: int) -> int:
        """Return the most memory that a pass of n examples takes, as measured; 0 where nothing was."""
        return -(-(self.peak_bytes or 0) * n // self.n_examples)


@dataclass(frozen=True)
class Probe:
    """What was measured; all numbers are of one example.

    Attributes
    ----------
    read_s, image_bytes
        Time to read and decode it, and what it takes as it is decoded.
    prepare_s, prepared_bytes
        The same of each preprocessing that was tried, by its text; "" for those that do not tell.
    models
        Models that were run, by their id.
    failed
        Models that could not be run, and why.
    seconds
        What all of it took.
    families
        The model that was run of each family, by the name of the family.
    excess
        How many times what their tensors add up to they took of memory, 1 or more.
    """

    read_s: float
    image_bytes: int
    prepare_s: Mapping[str, float]
    prepared_bytes: Mapping[str, int]
    models: Mapping[str, Timed]
    failed: Mapping[str, str]
    seconds: float
    families: Mapping[str, str]
    excess: float

    def pass_bytes(self, model: Outline, n: int, counted: int) -> int:
        """Return the most memory that a pass of n examples takes: measured, or as of measured models.

        Parameters
        ----------
        model
            Run or not.
        n
            Examples.
        counted
            What its tensors add up to; 0 where they were not counted.
        """
        own = self.models.get(model.model_id)
        if own is not None:
            return max(own.pass_bytes(n), counted)
        like = self.models.get(self.families.get(model.family, ""))
        if counted or like is None:
            return int(counted * self.excess)
        return like.pass_bytes(n)


def measure(
    sources: Sequence[ModelSource],
    outlines: Mapping[str, Outline],
    examples: ExampleSource,
    batch_size: int,
    lane: Host,
    execution: Execution,
) -> Probe:
    """Read a batch, prepare it in each way that is known, and run the cheapest model of each family.

    Families come in the order of their size, the one with most models first, until `BUDGET_S` is spent.

    Parameters
    ----------
    sources, outlines
        The models that are going to run, and what is known of each.
    examples, batch_size, execution
        As of the run.
    lane
        Of the device.
    """
    begun = time.perf_counter()
    images, read_s = _read(examples, batch_size)
    prepare_s: dict[str, float] = {}
    prepared_bytes: dict[str, int] = {}
    for outline in outlines.values():
        text = outline.preparation_text
        if text is not None and text not in prepare_s and outline.preparation is not None:
            tried = _prepare(outline.preparation, images)
            if tried is not None:
                prepare_s[text], prepared_bytes[text] = tried
    models: dict[str, Timed] = {}
    failed: dict[str, str] = {}
    running = time.perf_counter()
    for family in _families(sources, outlines):
        for source in family:
            if time.perf_counter() - running > BUDGET_S:
                break
            result = _run(source, images, lane, execution, examples)
            if isinstance(result, Timed):
                models[source.model_id] = result
                text = outlines[source.model_id].preparation_text or ""
                prepare_s.setdefault(text, result.prepare_s)
                prepared_bytes.setdefault(text, result.prepared_bytes)
                break
            failed[source.model_id] = result.text
    seconds = time.perf_counter() - begun
    families = {outlines[name].family: name for name in models if outlines[name].family != UNKNOWN}
    excess = max([1.0, *(_excess(timed, outlines[name]) for name, timed in models.items())])
    image_bytes = _n_bytes(images)
    return Probe(read_s, image_bytes, prepare_s, prepared_bytes, models, failed, seconds, families, excess)


def _excess(timed: Timed, outline: Outline) -> float:
    """Return how many times its counted activations a model took; of small passes it says nothing."""
    counted = timed.n_examples * (outline.activation_bytes or 0)
    return (timed.peak_bytes or 0) / counted if counted >= _TELLING_BYTES else 1.0


def _families(sources: Sequence[ModelSource], outlines: Mapping[str, Outline]) -> list[list[ModelSource]]:
    families: dict[str, list[ModelSource]] = {}
    for source in sources:
        name = outlines[source.model_id].family
        # nothing says that those of unknown family are alike
        families.setdefault(f"{name} {source.model_id}" if name == UNKNOWN else name, []).append(source)
    for family in families.values():
        family.sort(key=lambda source: outlines[source.model_id].gmacs or 0.0)
    return sorted(families.values(), key=len, reverse=True)


def _read(examples: ExampleSource, batch_size: int) -> tuple[Images, float]:
    """Read the first batch, then one from the middle if that is quick: the first pays for opening files."""
    n = min(batch_size, len(examples))
    images, seconds = _timed(lambda: examples.read(0, n))
    if seconds < _ONE_S:
        start = (len(examples) - n) // 2
        images, seconds = _timed(lambda: examples.read(start, start + n))
    return images, seconds / n


def _prepare(prepare: Callable[[Images], Any], images: Images) -> tuple[float, int] | None:
    """Return seconds and bytes of one prepared example; None where the images cannot be prepared."""
    n, n_all = min(8, len(images)), len(images)
    try:
        prepare(own(images[:1]))  # libraries are loaded at the first call
        batch, seconds = _timed(lambda: prepare(own(images[:n])))
        n_more = min(n_all, int(_ONE_S / max(seconds / n, 1e-9)))
        if n_more > n:
            n = n_more
            batch, seconds = _timed(lambda: prepare(own(images[:n])))
    except Exception:  # runs the user's code; the model says so when its turn comes
        return None
    return seconds / n, _n_bytes(batch)


def _run(
    source: ModelSource, images: Images, lane: Host, execution: Execution, examples: ExampleSource
) -> Timed | Failure:
    begun, predictor, n_classes = time.perf_counter(), None, len(examples.classes)
    try:
        predictor = source.load(lane.device)
        if execution != Execution() and hasattr(predictor, "executed"):
            predictor = predictor.executed(execution)
        load_s = time.perf_counter() - begun
        if predictor.n_classes not in (None, n_classes):
            return Failure.of(wrong_class_count(source.model_id, predictor.n_classes or 0, n_classes))
        first = predictor(lane.upload(predictor.prepare(own(images[:1]))))
        check_first(first, source.model_id, examples)
        timed = _run_loaded(predictor, images, lane, load_s)
        known = predictor.metadata
        return replace(timed, params=known.get("params"), weights_bytes=known.get("weights_bytes"))
    except Exception as error:  # runs code of any model
        return Failure.of(error)
    finally:
        if predictor is not None:
            leave_device(predictor)
        predictor = None  # before the reserve is given back
        lane.release()


def _run_loaded(predictor: Predictor, images: Images, lane: Host, load_s: float) -> Timed:
    """Run one example, then as many as fit into the time for one model: one alone is slow."""
    run, n = _Runner(predictor, images, lane, load_s), 1
    begun, timed = time.perf_counter(), run(1)
    while n < len(images) and (n < _FEW or time.perf_counter() - begun < _ONE_S / 2):
        n = min(len(images), max(_FEW, 2 * n, int(_ONE_S / 3 / max(timed.example_s, 1e-9))))
        timed = run(n)
    whole = len(images) * timed.example_s <= _PEAK_S
    return run.weighed(timed, len(images) if whole else timed.n_examples)


@dataclass(frozen=True)
class _Runner:
    predictor: Predictor
    images: Images
    lane: Host
    load_s: float

    def __call__(self, n: int) -> Timed:
        """Prepare so many examples and run them on the device: a disturbed pass is followed by another."""
        batch, prepare_s = _timed(lambda: self.predictor.prepare(own(self.images[:n])))
        there = self.lane.upload(batch)
        if n == 1:  # warming up
            self._seconds(there)
        return Timed(
            min(self._seconds(there) for _ in range(2)) / n, self.load_s, n, prepare_s / n, _n_bytes(batch)
        )

    def weighed(self, timed: Timed, n: int) -> Timed:
        """Add the memory of a pass; of a whole batch where time allows, else of as many as were timed."""
        there = self.lane.upload(self.predictor.prepare(own(self.images[:n])))
        peak = self.lane.peak_of(lambda: self._pass(there))
        return replace(timed, peak_bytes=None if peak is None else -(-peak * timed.n_examples // n))

    def _pass(self, batch: Any) -> None:
        self._seconds(batch)

    def _seconds(self, batch: Any) -> float:
        clock = self.lane.start()
        self.predictor(batch)
        clock.stop()
        return clock.seconds()


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    result = function()
    return result, time.perf_counter() - begun


def _n_bytes(batch: Any) -> int:
    """Return the bytes of one example of a batch: an array, a tensor, or a list of images."""
    n = max(len(batch), 1)
    if isinstance(batch, list):
        return sum(int(image.width * image.height) * len(image.getbands()) for image in batch) // n
    return int(getattr(batch, "nbytes", 0)) // n
