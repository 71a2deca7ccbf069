"""What looks wrong about predictions that can be stored: said, never corrected."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dissensus.errors import CorruptionError
from dissensus.store import format as fmt

if TYPE_CHECKING:
    from dissensus.store.catalog import Store
    from dissensus.store.reader import StoredModel
    from dissensus.store.truth import Truth

SIGMAS = 4  # from chance: 1 in 30,000 by luck
AT_CHANCE = 3  # what shuffled rows give is within so many of their mean, 997 times in 1,000
SHUFFLES = 32
LEAST_EXAMPLES = 100  # with fewer, chance and a weak model cannot be told apart
LEAST_RIGHT = 20  # right answers in a row that are no luck
GAIN_SIGMAS = 8  # of accuracy under another order of classes: several are tried
REMEDY = "give the names in the file's order with classes= (--classes FILE)"

CONSTANT = "predicts class {} for every example"
_SAME = ("the same numbers as model {}", "the same predictions as model {} on every example")

Classes = NDArray[Any]


def suspicions(
    predicted: Classes, truth: Truth, classes: list[str], has_ids: bool, is_weak: bool = False
) -> list[str]:
    """What looks wrong about a model's predictions, one sentence each.

    Parameters
    ----------
    predicted : (N,) int
        Predicted classes.
    truth : Truth
        Right answers.
    classes : list of str
        Names of the classes.
    has_ids : bool
        Whether rows were matched by ids, or the user said how they lie.
    is_weak : bool
        Whether the predictions have a name that right answers go by too.
    """
    constant = classes[predicted[0]] if (predicted == predicted[0]).all() else None
    counted = np.flatnonzero(truth.counted)
    truth, predicted = truth.take(counted), predicted[counted]
    if not len(predicted):
        return [] if constant is None else [CONSTANT.format(repr(constant))]
    accuracy = float(truth.correct(predicted).mean())
    chance = float(truth.sizes.mean()) / len(classes)
    spread = SIGMAS * float(np.sqrt(chance * (1 - chance) / len(predicted)))
    if constant is not None:
        return [CONSTANT.format(repr(constant))] if accuracy < 1 else []
    found = []
    if accuracy == 1 and truth.is_single and (is_weak or len(predicted) >= LEAST_RIGHT):
        found.append(
            "equals the labels in every row: are these the right answers, not a model's? Then take it out "
            "(dissensus remove), or name the column of predictions (columns=, --column)"
        )
    if accuracy < chance - spread:
        found.append(f"accuracy {accuracy:.4f} is worse than chance ({chance:.4f})")
    order = _other_order(predicted, truth, classes, accuracy)
    if order:
        found.append(order)
    elif not has_ids and accuracy < chance + spread:
        found.append(
            f"accuracy {accuracy:.4f} is that of chance ({chance:.4f}), and the file has no ids: are its "
            "rows in another order? (rows=, --rows)"
        )
    elif not found and (shuffled := _at_chance(predicted, truth, accuracy)) is not None:
        found.append(
            f"accuracy {accuracy:.4f} is that of chance (shuffled rows would have {shuffled:.4f}): are its "
            "rows in another order than its ids or rows= say (--id-column, --rows), or its classes in "
            "another than the store's (--classes)?"
        )
    return found


def _at_chance(predicted: Classes, truth: Truth, accuracy: float) -> float | None:
    """Mean accuracy of the same predictions dealt to other examples, if the accuracy is no other."""
    if len(predicted) < LEAST_EXAMPLES:
        return None
    rng = np.random.default_rng(0)
    dealt = [float(truth.correct(rng.permutation(predicted)).mean()) for _ in range(SHUFFLES)]
    middle, spread = float(np.mean(dealt)), float(np.std(dealt, ddof=1))
    return middle if abs(accuracy - middle) <= AT_CHANCE * spread else None


def hypotheses(classes: list[str]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Orders that files have classes in by mistake: a name, and the store's class of each class number."""
    n = len(classes)
    straight = np.arange(n)
    as_text = np.array(sorted(range(n), key=str), np.intp)
    yield "reversed", straight[::-1]
    yield "counted from 1", (straight - 1) % n
    yield "one too low", (straight + 1) % n
    yield "sorted as text (0, 1, 10, …)", as_text
    yield "sorted as text in the store but not in the file", np.argsort(as_text)
    yield "in alphabetical order of the class names", np.argsort(np.array(classes), kind="stable")


def _other_order(predicted: Classes, truth: Truth, classes: list[str], accuracy: float) -> str | None:
    """Order of classes under which the predictions are far better, if there is one."""
    least = max(2 * accuracy, accuracy + GAIN_SIGMAS * 0.5 / np.sqrt(len(predicted)))
    best, name = 0.0, ""
    for order, places in hypotheses(classes):
        under = float(truth.correct(places[predicted]).mean())
        if under > best:
            best, name = under, order
    if best >= least:
        return f"accuracy is {accuracy:.4f}, but {best:.4f} if its classes are {name}: {REMEDY}"
    matched = matched_accuracy(predicted, truth.first)
    if matched >= least:
        return (
            f"accuracy is {accuracy:.4f}, but {matched:.4f} if its classes are matched one to one with the "
            f"true ones: they seem to be in another order; {REMEDY}"
        )
    return None


def matched_accuracy(predicted: Classes, labels: Classes) -> float:
    """Accuracy if predicted classes stood for others, matched on every other example and counted on the rest.

    Parameters
    ----------
    predicted, labels : (N,) int
        Predicted and true classes, N > 1.
    """
    if len(labels) < 2:
        return 0.0
    width = int(max(predicted.max(), labels.max())) + 1
    pairs, counts = np.unique(predicted[::2].astype(np.int64) * width + labels[::2], return_counts=True)
    match = np.full(width, -1)
    taken = np.zeros(width, bool)
    for pair in pairs[np.argsort(-counts, kind="stable")]:  # greedy: the most frequent pairs first
        given, true = divmod(int(pair), width)
        if match[given] < 0 and not taken[true]:
            match[given], taken[true] = true, True
    return float((match[predicted[1::2]] == labels[1::2]).mean())


class Known:
    """Models of a store by what they predict, to find the same predictions under another name.

    Parameters
    ----------
    store : Store
        Read when first asked.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys: dict[str, tuple[str, str]] = {}
        self._names: dict[str, dict[str, None]] = {}  # in order, of every key

    def same_as(self, model_id: str) -> str | None:
        """Another model with the same stored numbers or the same predictions; takes note of this one."""
        if not self._keys:
            for name in self._store.model_ids:
                with suppress(CorruptionError):  # of another model: `verify` names it
                    self._note(name)
        self._note(model_id)  # anew: it may have been replaced
        for key, what in zip(self._keys[model_id], _SAME, strict=True):
            twin = next((name for name in self._names[key] if name != model_id), None)
            if twin is not None:
                return what.format(repr(twin))
        return None

    def _note(self, model_id: str) -> None:
        for key in self._keys.get(model_id, ()):
            del self._names[key][model_id]
        model = self._store.model(model_id)
        classes = hashlib.sha256(model.column("top1").tobytes()).hexdigest()
        self._keys[model_id] = f"{model.kind} {_stored(model)} {classes}", classes
        for key in self._keys[model_id]:
            self._names.setdefault(key, {})[model_id] = None


def _stored(model: StoredModel) -> str:
    """Checksums of what is stored: of the blocks of logits, or of hard labels."""
    return str(sorted(model.files.get(fmt.SHARD, model.files[fmt.DERIVED]).items()))
