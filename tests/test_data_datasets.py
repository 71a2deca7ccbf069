"""Map-style datasets: what an item may be, where labels come from, and `python:module:function`."""

from __future__ import annotations

import io
import sys
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from dissensus import errors
from dissensus.ingest import ArrayExamples, DatasetExamples, ImageFolder, open_examples
from image_sets import TorchDataset, all_equal, cut, pictures, require_same, write_folder

GREY = np.arange(4 * 12, dtype=np.uint8).reshape(4, 4, 3)


@pytest.fixture(scope="module")
def made():
    return pictures()


def quiet(dataset, *arguments, **options):
    return DatasetExamples(dataset, *arguments, progress=False, **options)


class Items:
    """A dataset of given items and attributes."""

    def __init__(self, items, **attributes):
        self.items = items
        self.__dict__.update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


# what is read


def test_a_dataset_gives_what_the_folder_gives(tmp_path, made):
    examples = quiet(TorchDataset(made), ids=[p.stem for p in made])
    folder = ImageFolder(write_folder(tmp_path, made), progress=False)
    require_same(examples, folder, made)


def test_torchvisions_own_folder_gives_the_same(tmp_path, made):
    from torchvision.datasets import ImageFolder as TorchFolder

    root = write_folder(tmp_path, made)
    theirs, ours = quiet(TorchFolder(root)), ImageFolder(root, progress=False)
    assert theirs.classes == ours.classes
    assert theirs.labels.tolist() == ours.labels.tolist()
    assert all_equal(theirs.read(0, 24), [image.convert("RGB") for image in ours.read(0, 24)])


def test_torch_datasets_of_every_kind(made):
    pixels = torch.arange(5 * 3 * 4 * 6, dtype=torch.uint8).view(5, 3, 4, 6)
    tensors = torch.utils.data.TensorDataset(pixels, torch.tensor([0, 1, 2, 1, 0]))
    examples = quiet(tensors)
    assert examples.labels.tolist() == [0, 1, 2, 1, 0]
    assert np.array_equal(examples.read(1, 4), pixels[1:4].permute(0, 2, 3, 1).numpy())
    subset = quiet(torch.utils.data.Subset(tensors, [4, 2]))
    assert subset.labels.tolist() == [0, 2]
    both = quiet(torch.utils.data.ConcatDataset([tensors, TorchDataset(made)]))
    assert len(both) == 29
    assert all_equal(both.read(4, 6), [pixels[4].permute(1, 2, 0).numpy(), TorchDataset(made)[0][0]])


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (GREY[:, :, 0], GREY[:, :, 0]),
        (GREY, GREY),
        (GREY[:, :, :1], GREY[:, :, 0]),
        (torch.from_numpy(GREY[:, :, 0]), GREY[:, :, 0]),
        (torch.from_numpy(GREY[:, :, 0])[None], GREY[:, :, 0]),
        (torch.from_numpy(GREY.transpose(2, 0, 1)), GREY),
        (torch.rand(3, 5, 5, generator=torch.manual_seed(0)), None),
        (np.linspace(0, 1, 7), None),
        (torch.arange(4, dtype=torch.float64), None),
    ],
)
def test_arrays_and_tensors(item, expected):
    rows = quiet(Items([(item, 0), (item, 1)])).read(0, 2)
    assert isinstance(rows, np.ndarray)
    expected = np.asarray(item) if expected is None else expected
    assert rows.dtype == expected.dtype
    assert np.array_equal(rows, np.stack([expected, expected]))


def test_pixels_of_several_sizes_become_images():
    images = quiet(Items([(GREY, 0), (GREY[:2], 1), (Image.new("L", (2, 2), 9), 1)])).read(0, 3)
    assert [image.size for image in images] == [(4, 4), (4, 2), (2, 2)]
    assert all_equal(images, [GREY, GREY[:2], np.full((2, 2), 9)])


def test_sixteen_bits_are_scaled_as_in_folders():
    deep = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    assert np.asarray(quiet(Items([(deep, 0), (deep, 1)])).read(0, 1)[0]).tolist() == [[0, 1, 255]]


# labels, classes, ids


def test_targets_are_the_labels_and_cost_no_reading(made):
    dataset = TorchDataset(made)
    dataset.targets = torch.tensor([p.label for p in made])
    examples = quiet(dataset)
    assert examples.labels.tolist() == [p.label for p in made]
    assert dataset.decoded == 24  # the first look, which hashes
    examples.read(3, 5)
    assert dataset.decoded == 26


def test_labels_given_count_and_items_may_be_images_alone():
    images = Items([GREY, GREY], targets=[5, 5])
    assert quiet(images, [1, 0]).labels.tolist() == [1, 0]
    assert quiet(images, [1, 0], classes=["x", "y", "z"]).classes == ["x", "y", "z"]
    assert quiet(Items([(GREY, 7), (GREY, 7)]), labels=[1, 0]).labels.tolist() == [1, 0]


def test_labels_of_numbers_of_every_kind():
    labels = [np.int64(1), torch.tensor(0), np.array(2), 1]
    assert quiet(Items([(GREY, label, "more") for label in labels])).labels.tolist() == [1, 0, 2, 1]


def test_class_names_of_the_dataset():
    synonyms = Items([(GREY, 1)], classes=[("tench", "Tinca tinca"), ("goldfish",)])
    assert quiet(synonyms).classes == ["tench, Tinca tinca", "goldfish"]
    assert quiet(Items([(GREY, 1)], classes=np.array(["x", "y"]))).classes == ["x", "y"]
    assert quiet(synonyms, classes=["a", "b", "c"]).classes == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Items([GREY, GREY]), {}, r"item 0 of Items must be \(image, label\), got ndarray; pass labels="),
        (Items([(GREY, 0.5)]), {}, "item 0 of Items must have one class number as its label, got 0.5"),
        (Items([(GREY, "cat")]), {}, "must have one class number as its label, got 'cat'"),
        (Items([(GREY, torch.zeros(3))]), {}, "must have one class number as its label, got tensor"),
        (
            Items([("x.png", 0)]),
            {},
            "item 0 of Items must be a PIL image, an array or a tensor of numbers, got s",
        ),
        (
            Items([(np.array(["a"]), 0)]),
            {},
            "item 0 of Items must be a PIL image, an array or a tensor of numb",
        ),
        (
            Items([(np.zeros((2, 2, 4), np.uint8), 0)]),
            {},
            r"must be grey or have three colours, got shape \(2, 2,",
        ),
        (Items([(GREY, 0), (GREY, -1)]), {}, "labels must be 0 or more, got -1 for example 1"),
        (
            Items([(GREY, 0), (GREY, 3)]),
            {"classes": ["a", "b"]},
            r"labels must be 0 … 1 .*got 3 for example 1",
        ),
        (Items([(GREY, 0)], classes=[]), {}, "labels must be"),
        (
            Items([(GREY, 0)]),
            {"labels": [0, 1]},
            r"labels must have shape \(1,\), one for each image, got \(2,\)",
        ),
        (Items([(GREY, 0)]), {"ids": ["a", "b"]}, "ids must have one entry for each of the 1 images, got 2"),
        (Items([(GREY, 0)] * 2), {"ids": ["a", "a"]}, "ids must be distinct; 'a' comes more than once"),
        (Items([]), {}, "at least one example, got none"),
        (
            Items([(GREY, 0)] * 2, targets=[0, 1]),
            {},
            "item 1 of Items has label 0, but dataset.targets says 1",
        ),
        (
            Items([(GREY, 0)], targets=["cat"]),
            {},
            "dataset.targets cannot be the labels: labels must be integers",
        ),
        (
            Items([(GREY, 0)], targets=[0, 1]),
            {},
            r"dataset.targets cannot be the labels: labels must have shape",
        ),
        (
            iter([(GREY, 0)]),
            {},
            r"dataset must be map-style \(have a length and dataset\[i\]\), got list_iterator",
        ),
        (
            Items([(GREY, 0)]),
            {"on_bad_image": "ignore"},
            "on_bad_image must be 'stop' or 'skip', got 'ignore'",
        ),
    ],
)
def test_datasets_that_break_a_rule(dataset, options, message):
    with pytest.raises(errors.ArgumentError, match=message):
        quiet(dataset, **options)


def test_floats_of_several_shapes():
    examples = quiet(Items([(np.zeros(3), 0), (np.zeros(4), 1)]))
    with pytest.raises(errors.ArgumentError, match="no uint8 pixels must have one shape and type, got"):
        examples.read(0, 2)


# bad items, changing items


def test_bad_items(made):
    broken = [cut(made[0]), made[1], made[2]._replace(data=b"text"), *made[3:]]
    message = (
        r"2 of 24 images could not be decoded: item 0 of TorchDataset \(.*runcated.*item 2 .*not an image"
    )
    with pytest.raises(errors.UnreadableImage, match=message):
        quiet(TorchDataset(broken))
    with pytest.warns(UserWarning, match="left out: 2 of 24"):
        examples = quiet(TorchDataset(broken), on_bad_image="skip")
    assert list(examples.skipped) == ["00", "02"]
    assert examples.labels.tolist() == [made[i].label for i in (1, *range(3, 24))]
    assert all_equal(examples.read(0, 2), [TorchDataset(made)[i][0] for i in (1, 3)])


def test_any_error_of_an_item_is_its_reason():
    items = Items([(GREY, 0), KeyError("x"), RuntimeError()], targets=[0, 1, 1])
    with pytest.warns(UserWarning, match="left out: 2 of 3"):
        examples = quiet(items, on_bad_image="skip")
    assert examples.skipped == {"1": "'x'", "2": "RuntimeError"}


def test_images_that_are_decoded_late(made):
    late = Image.open(io.BytesIO(cut(made[0]).data))
    with pytest.raises(errors.UnreadableImage, match=r"item 0 of Items \(.*runcated"):
        quiet(Items([(late, 0), (GREY, 1)]))


def test_random_transforms_are_told():
    class Random(Items):
        def __getitem__(self, i):
            return np.random.default_rng().integers(0, 255, (4, 4), np.uint8), 0

    with pytest.raises(
        errors.ExamplesMismatch, match=r"item 1 of Random is not what it was .*no random transform"
    ):
        quiet(Random([0, 0])).read(1, 2)


def test_the_fingerprint_is_of_the_pixels(made):
    digest = quiet(TorchDataset(made)).fingerprint
    assert quiet(TorchDataset(made)).fingerprint == digest
    items = [TorchDataset(made)[i] for i in range(24)]
    assert quiet(Items(items)).fingerprint == digest
    changed = np.array(items[3][0])
    changed.flat[0] ^= 1
    items[3] = (Image.fromarray(changed), made[3].label)
    assert quiet(Items(items)).fingerprint != digest
    swapped = [quiet(Items([(GREY, 0), (GREY[::-1], 1)][::step])).fingerprint for step in (1, -1)]
    assert swapped[0] != swapped[1]


def test_items_are_asked_for_one_at_a_time():
    class Jealous(Items):
        busy = threading.Lock()

        def __getitem__(self, i):
            assert self.busy.acquire(blocking=False), "two at once"
            try:
                return Image.fromarray(np.full((64, 64), i % 250, np.uint8)), 0
            finally:
                self.busy.release()

    examples = quiet(Jealous(list(range(300))))
    threads = [threading.Thread(target=examples.read, args=(0, 300)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not examples.skipped


# python:module:function

MODULE = """
import numpy as np
from dissensus.ingest import ArrayExamples

class Data:
    targets = [0, 1, 1]
    def __len__(self):
        return 3
    def __getitem__(self, i):
        return np.full((4, 4), i, np.uint8), self.targets[i]

def dataset():
    return Data()

def source():
    return ArrayExamples(np.zeros((3, 4, 4), np.uint8), [0, 1, 1])

def nothing():
    return None

def missing():
    import a_module_that_is_not_there

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_data", raising=False)


@pytest.mark.usefixtures("module")
def test_functions_by_name(tmp_path):
    examples = open_examples("python:own_data:dataset", classes=["ant", "bee"])
    assert isinstance(examples, DatasetExamples)
    assert (examples.labels.tolist(), examples.classes) == ([0, 1, 1], ["ant", "bee"])
    assert examples.read(2, 3).max() == 2
    assert isinstance(open_examples("python:own_data:source"), ArrayExamples)
    np.save(tmp_path / "y.npy", np.array([1, 1, 0]))
    assert open_examples("python:own_data:dataset", tmp_path / "y.npy").labels.tolist() == [1, 1, 0]


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("python:own_data", "python:own_data must be python:MODULE:FUNCTION, such as"),
        ("python::dataset", "python::dataset must be python:MODULE:FUNCTION, such as"),
        ("python:own_daat:dataset", "No module named 'own_daat'; it must be importable from here"),
        ("python:own_data:datset", "module own_data has no function datset"),
        ("python:own_data:number", "must name a function, got int"),
        ("python:own_data:nothing", "dataset must be map-style .*, got NoneType"),
    ],
)
def test_functions_that_are_not_there(spec, message):
    with pytest.raises(errors.ArgumentError, match=message):
        open_examples(spec)


@pytest.mark.usefixtures("module")
def test_what_a_function_raises_is_its_own():
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        open_examples("python:own_data:missing")
    with pytest.raises(
        errors.ArgumentError, match="labels must not be given for python:own_data:source, which ret"
    ):
        open_examples("python:own_data:source", labels=[0, 1, 1])
    with pytest.raises(
        errors.ArgumentError, match="on_bad_image='skip' must not be given for python:own_data:so"
    ):
        open_examples("python:own_data:source", on_bad_image="skip")
