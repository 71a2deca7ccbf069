"""One set of real images as files, tar shards, Hugging Face data and torch datasets."""

from __future__ import annotations

import io
import tarfile
from typing import NamedTuple

import numpy as np
from PIL import Image

from dissensus.errors import ArgumentError
from dissensus.ingest import ExampleSource


class Picture(NamedTuple):
    """An encoded image: its name without ending, its ending, its class, its bytes."""

    stem: str
    ending: str
    label: int
    data: bytes


def pixels(n):
    """The first n test images of Fashion-MNIST, where it is installed, else digits; and their labels."""
    from dissensus.demo.data import find_fashion_mnist
    from dissensus.ingest import digits_examples, idx_examples

    try:
        source = idx_examples(find_fashion_mnist())
    except ArgumentError:
        source = digits_examples()
    return source.read(0, n), source.labels[:n]


def encoded(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pictures(n=24):
    """Grey and coloured images of several sizes, as JPEG, PNG, WebP; every eighth a PNG called .jpg."""
    made = []
    sizes, forms = (
        [(28, 28), (40, 30), (64, 64), (33, 57)],
        [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")],
    )
    for i, (grey, label) in enumerate(zip(*pixels(n), strict=True)):
        image = Image.fromarray(np.stack([grey, grey // 2, 255 - grey], 2) if i % 2 else grey)
        form, ending = ("PNG", "jpg") if i % 8 == 7 else forms[i % 3]
        data = encoded(image.resize(sizes[i % 4]), form)
        made.append(Picture(f"{label}-{i:03d}", ending, int(label), data))
    return sorted(made)  # by class, as a folder is


def cut(picture):
    """The same image, its file truncated."""
    return picture._replace(data=picture.data[: len(picture.data) * 2 // 3])


def write_folder(root, made):
    for p in made:
        path = root / str(p.label) / f"{p.stem}.{p.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(p.data)
    return root


def add(tar, name, data, **attributes):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    tar.addfile(member, io.BytesIO(data))


def write_tar(path, files):
    """A tar file of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            add(tar, name, data)
    return path


def sample_files(made):
    return [f for p in made for f in ((f"{p.stem}.{p.ending}", p.data), (f"{p.stem}.cls", b"%d" % p.label))]


def write_shards(folder, made, n_shards=3):
    """Tar files of consecutive samples; returns their pattern."""
    for shard, rows in enumerate(np.array_split(np.arange(len(made)), n_shards)):
        write_tar(folder / f"val-{shard:03d}.tar", sample_files([made[row] for row in rows]))
    return f"{folder}/val-{{000..{n_shards - 1:03d}}}.tar"


def hf_dataset(made, names=None):
    """A `datasets.Dataset` in memory with columns image, label and name."""
    import datasets

    names = names or [str(label) for label in range(10)]
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=names), name=datasets.Value("string")
    )
    columns = {
        "image": [None if p.data is None else {"bytes": p.data, "path": None} for p in made],
        "label": [p.label for p in made],
        "name": [p.stem for p in made],
    }
    return datasets.Dataset.from_dict(columns, features=features)


class TorchDataset:
    """A map-style dataset of encoded images that counts what it decodes."""

    def __init__(self, made):
        self.made, self.decoded = made, 0
        self.classes = [str(label) for label in range(10)]

    def __len__(self):
        return len(self.made)

    def __getitem__(self, i):
        self.decoded += 1
        image = Image.open(io.BytesIO(self.made[i].data))
        image.load()
        return image, self.made[i].label


def arrays(images):
    return [np.asarray(image) for image in images]


def require_same(examples, folder, made):
    """What a source gives of pictures is what a folder of their files gives."""
    assert isinstance(examples, ExampleSource)
    assert examples.decoding
    assert examples.ids == [p.stem for p in made]
    assert examples.labels.tolist() == [p.label for p in made]
    assert examples.classes == [str(c) for c in range(10)]
    assert all_equal(examples.read(0, len(made)), folder.read(0, len(made)))
    assert all_equal(examples.read(5, 11), folder.read(5, 11))


def all_equal(left, right):
    pairs = zip(arrays(left), arrays(right), strict=True)
    return all(a.shape == b.shape and np.array_equal(a, b) for a, b in pairs)
