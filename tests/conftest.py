"""Shared fixtures: a small store of synthetic logits."""

from __future__ import annotations

import os

# One level of parallelism in tests; kernels get their own threads where a test asks for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

import dissensus as ds
from faults.figures import HEADING

# One commit, one verdict; new cases are searched for with `--hypothesis-profile=search`.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("fixed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """Processes of `-n auto`: each may train a network, which wants memory."""
    return min(4, os.cpu_count() or 1)


def pytest_terminal_summary(terminalreporter):
    """Print what the suite of faults tried and what was lost, whichever process tried it."""
    reports = [report for each in terminalreporter.stats.values() for report in each]
    lines = [v for r in reports for k, v in getattr(r, "user_properties", ()) if k == "fault"]
    if lines:
        terminalreporter.section("faults: a sample; all of them by `python -m tests.faults --full`")
        terminalreporter.write_line(HEADING)
    for line in dict.fromkeys(lines):
        terminalreporter.write_line(line)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def small_zoo(tmp_path, rng):
    """Store of 5 scored models x 203 examples x 4 classes, with splits; its `given` holds the logits."""
    labels = rng.integers(0, 4, 203)
    splits = np.where(np.arange(203) % 2 == 0, "fit", "report").tolist()
    ids = [f"img/{i:04d}.png" for i in range(203)]
    store = ds.create(tmp_path / "small.zoo", labels, classes=list("wxyz"), example_ids=ids, splits=splits)
    signal = 2.0 * np.eye(4)[labels]
    store.given = {
        f"model-{i}": (signal + rng.normal(size=(203, 4)) * (1 + i)).astype("f4") for i in range(5)
    }
    for model_id, logits in store.given.items():
        store.add(model_id, logits=logits, metadata={"category": "odd" if model_id[-1] in "135" else "even"})
    return store


@pytest.fixture(scope="session")
def digits_demo(tmp_path_factory):
    """Folder of a small but real digits demo: a few recipes of the built-in zoo, trained and ingested."""
    from dissensus.demo.families import recipes_for

    wanted = ("base", "reinit-1", "mlp", "resnetv2", "knn", "random-forest", "data-half")
    recipes = [r for r in recipes_for(size=8, flips=False) if r.model_id in wanted]
    out = tmp_path_factory.mktemp("demo") / "demo-digits"
    result = ds.run_demo("digits", out=out, recipes=recipes, workers=1, progress=False)
    assert not result.failed
    return out
