"""Heat maps: what is drawn is the matrix, in an order that puts alike models side by side."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import dissensus as ds
import naive
import real_data
from dissensus.errors import ArgumentError, MissingDependency, UnknownName
from dissensus.pairs import MEASURES, PairCounts, Pairs

pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

from dissensus.plots import rendered
from dissensus.plots.order import average_linkage, distances

EI, KAPPA = "error_inconsistency", "error_consistency"


def pairs_of(correct, *measures, names=None):
    counts = PairCounts.from_correct(np.asarray(correct, bool))
    values = {name: MEASURES[name].finish(counts, "nan", {}) for name in measures or (KAPPA,)}
    return Pairs(names or [f"model-{i}" for i in range(len(correct))], counts, values)


def families(n_models, n_families, seed=0):
    """Correctness of shuffled models, of which those of one family are alike, and each one's family."""
    rng = np.random.default_rng(seed)
    family = rng.permutation(np.arange(n_models) % n_families)
    common = rng.normal(size=(n_families, 600))
    noise = 0.3 * rng.normal(size=(n_models, 600))
    return common[family] + noise + 0.5 > 0, family


def drawn(figure):
    """The matrix in a picture, and its names by row."""
    (axes,) = [one for one in figure.axes if one.images]
    return axes.images[0].get_array().filled(np.nan), [t.get_text() for t in axes.get_yticklabels()]


def words(figure):
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("measure", [KAPPA, EI, "negative_flip_rate"])
def test_the_picture_is_the_matrix_in_another_order(measure):
    correct, _ = families(9, 3)
    pairs = pairs_of(correct, measure)
    values, names = drawn(ds.heatmap(pairs, measure))
    ids, accuracies = zip(*(name.split() for name in names), strict=True)
    assert sorted(ids) == pairs.model_ids
    order = [pairs.model_ids.index(name) for name in ids]
    assert accuracies == tuple(f"{pairs.accuracy[i]:.3f}" for i in order)
    expected = pairs[measure][np.ix_(order, order)]
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(("n_models", "n_families"), [(10, 3), (60, 7)])
@pytest.mark.parametrize("measure", [KAPPA, EI])
def test_families_stand_side_by_side(n_models, n_families, measure):
    correct, family = families(n_models, n_families)
    pairs = pairs_of(correct, measure)
    order = average_linkage(distances(pairs[measure], MEASURES[measure])).order
    assert np.count_nonzero(np.diff(family[order])) == n_families - 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(0, 10_000))
def test_joins_equal_a_loop(n_models, seed):
    values = np.random.default_rng(seed).random((n_models, n_models))
    distance = distances(values, MEASURES[KAPPA])
    assert (distance == distance.T).all()
    assert (distance.diagonal() == 0).all()
    tree = average_linkage(distance)
    assert sorted(tree.order) == list(range(n_models))
    np.testing.assert_allclose(tree.merges[:, 2], naive.average_linkage(distance.tolist()), rtol=1e-9)
    tops = tree.segments()[:, 1:3, 1]
    np.testing.assert_array_equal(tops, np.repeat(tree.merges[:, 2:3], 2, axis=1))


def test_far_is_the_more_different_end():
    values = np.array([[1, 0.9, 0.2], [0.7, 1, np.nan], [0.4, np.nan, 1]])
    by_kappa = distances(values, MEASURES[KAPPA])  # lower is more different
    assert by_kappa[0, 2] > by_kappa[0, 1] > 0
    by_ei = distances(values, MEASURES[EI])
    assert by_ei[0, 1] > by_ei[0, 2] > 0
    assert by_ei[1, 2] == pytest.approx(by_ei[0, 1:].mean())  # undefined: as the mean of the others


@pytest.mark.parametrize("n_models", [2, 4, 12, 13, 100, 500])
def test_names_have_room_at_any_size(n_models):
    """As many as fit: none overlaps the next; the cells of a small matrix have their values in them."""
    correct, _ = families(n_models, min(n_models, 8))
    figure = ds.heatmap(pairs_of(correct, names=[f"a-model-with-a-name-{i}" for i in range(n_models)]))
    (axes,) = [one for one in figure.axes if one.images]
    figure.canvas.draw()
    for labels, end in ((axes.get_yticklabels(), "y"), (axes.get_xticklabels(), "x")):
        boxes = [one.get_window_extent() for one in labels]
        middles = [(box.y0 + box.y1) / 2 if end == "y" else (box.x0 + box.x1) / 2 for box in boxes]
        sizes = [box.height if end == "y" else box.width for box in boxes]
        assert len(boxes) == len(axes.get_yticks())
        assert min(np.abs(np.diff(middles)), default=np.inf) >= 0.8 * max(sizes)
        assert all(box.x0 >= 0 and box.y0 >= 0 for box in boxes)  # within the picture
    assert len(boxes) >= min(n_models, 60)
    assert max(figure.get_size_inches()) < 20
    values = [text.get_text() for text in axes.texts]
    assert len(values) == (n_models * (n_models - 1) if n_models <= 12 else 0)
    assert any("models is named" in text for text in words(figure)) is (len(boxes) < n_models)


def test_what_is_said_around_it(small_zoo):
    pairs = ds.pairwise(small_zoo, [KAPPA, "negative_flip_rate"], split="fit", where="label < 3")
    figure = ds.heatmap(pairs)
    assert words(figure)[0] == "error consistency"
    expected = f"5 models on {pairs.counts.n} examples of split 'fit' where label < 3"
    assert " ".join(words(figure)[1].split()) == expected
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "error consistency (lower: more different)"
    flips = ds.heatmap(pairs, "negative_flip_rate", title="my own")
    assert words(flips)[1] == "my own"
    assert "rows: first model, columns: second" in words(flips)[2]
    assert flips.axes[-1].get_ylabel() == "negative flip rate (higher: more different)"
    with pytest.raises(UnknownName, match="unknown measure 'phi'"):
        ds.heatmap(pairs, "phi")


def test_bright_is_more_different_whichever_end_that_is():
    correct, _ = families(8, 2)
    pairs = pairs_of(correct, KAPPA, EI)
    for measure in (KAPPA, EI):
        image = next(one.images[0] for one in ds.heatmap(pairs, measure).axes if one.images)
        values = drawn(ds.heatmap(pairs, measure))[0]
        ends = [np.nanmin(values), np.nanmax(values)]
        light = [sum(image.to_rgba(value)[:3]) for value in ends]
        assert light.index(max(light)) == (MEASURES[measure].more_different == "high")


def test_outliers_do_not_take_all_colours():
    correct, _ = families(100, 5)
    correct[7] = np.arange(600) % 2
    figure = ds.heatmap(pairs_of(correct))
    image = next(one.images[0] for one in figure.axes if one.images)
    values = drawn(figure)[0]
    assert np.nanmin(values) < image.norm.vmin < image.norm.vmax <= np.nanmax(values)


@pytest.mark.parametrize(
    "correct",
    [np.ones((3, 9)), [[1, 0, 1], [1, 0, 1]], [[1, 1, 1], [1, 0, 1], [0, 0, 0]]],
    ids=["undefined", "equal", "some undefined"],
)
def test_degenerate_matrices_are_drawn(correct):
    for measure in (KAPPA, "phi", EI):
        figure = ds.heatmap(pairs_of(correct, measure))
        assert rendered(figure, "png").startswith(b"\x89PNG")
    texts = [
        t.get_text() for one in ds.heatmap(pairs_of(correct, "phi")).axes if one.images for t in one.texts
    ]
    assert texts.count("–") == np.isnan(pairs_of(correct, "phi")["phi"]).sum() - sum(
        np.isnan(pairs_of(correct, "phi")["phi"].diagonal())
    )


def test_files_are_what_they_say_and_the_same_each_time():
    names = ["plain", "$x^2$ and <&>", "two\nlines", "模型", "a" * 80]
    correct, _ = families(5, 2)
    figure = ds.heatmap(pairs_of(correct, names=names))
    image = Image.open(io.BytesIO(rendered(figure, "png")))
    np.testing.assert_allclose(image.size, 160 * figure.get_size_inches(), atol=1)
    assert len(np.unique(np.asarray(image.convert("L")))) > 10
    svg = rendered(figure, "svg")
    assert svg == rendered(ds.heatmap(pairs_of(correct, names=names)), "svg")
    text = svg.decode()
    for shown in ("plain", "$x^2$ and &lt;&amp;&gt;", "two lines", "模型", "a" * 17 + "…" + "a" * 17):
        assert f">{shown}</text>" in text
    assert "error consistency (lower: more different)" in text
    assert not re.search(r"<dc:date>", text)
    with pytest.raises(ArgumentError, match="pictures are png or svg; got 'gif'"):
        rendered(figure, "gif")


def test_the_four_frameworks(tmp_path):
    """ViT, the most different from SimCLR, stands at the other end."""
    ids, predictions, labels = real_data.imagenet()
    correct = [[predictions[m][i] == labels[i] for i in ids] for m in real_data.FRAMEWORKS]
    pairs = pairs_of(correct, names=list(real_data.FRAMEWORKS))
    names = [name.split()[0] for name in drawn(ds.heatmap(pairs))[1]]
    assert {names[0], names[-1]} == {"SimCLR", "ViT"}
    assert set(names[1:3]) == {"ResNet50", "DINO"}


def test_too_many_models_and_missing_packages_are_one_clear_line(monkeypatch):
    correct, _ = families(6, 2)
    monkeypatch.setattr("dissensus.plots.picture.MOST_MODELS", 5)
    with pytest.raises(ArgumentError, match="a heat map shows at most 5 models, these are 6: name some"):
        ds.heatmap(pairs_of(correct))
    for package in ("matplotlib", "scipy"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            message = r"need matplotlib and scipy, .*; run: pip install 'dissensus\[plots\]'"
            with pytest.raises(MissingDependency, match=message):
                ds.heatmap(pairs_of(correct))


def test_nothing_is_loaded_before_something_is_drawn():
    code = (
        "import sys, dissensus.plots; print({'matplotlib', 'scipy', 'numba'} & set(sys.modules) or 'light')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "light"
