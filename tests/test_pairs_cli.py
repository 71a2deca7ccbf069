"""Intervals and tests of pairs on the command line."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

import dissensus as ds
from test_cli import run

KAPPA = "error_consistency"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Store of 5 models x 200 examples; a perfect one and its copy make kappa undefined once."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    store = ds.create(tmp_path_factory.mktemp("pairs") / "p.zoo", labels)
    for i in range(3):
        wrong = rng.random(200) < 0.1 + 0.1 * i
        store.add(f"m{i}", predictions=(labels + wrong) % 3)
    store.add("truth", predictions=labels)
    store.add("copy", predictions=labels)
    return store


def records(zoo, *options):
    return json.loads(run("pairs", zoo.path, "--all", "--format", "json", *options).stdout)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["--ci", "delta"], {"ci": "delta"}),
        (["--ci", "delta", "--level", 0.8], {"ci": "delta", "level": 0.8}),
        (
            ["--ci", "bootstrap", "--draws", 50, "--seed", 3, "--level", 0.5],
            {"ci": "bootstrap", "draws": 50, "seed": 3, "level": 0.5},
        ),
    ],
)
def test_records_equal_the_library(zoo, options, arguments):
    found = records(zoo, "-m", KAPPA, "-m", "phi", *options)
    assert found == ds.pairwise(zoo, [KAPPA, "phi"], **arguments).top(100).to_pylist()
    assert list(found[0])[4:] == [f"{m}{end}" for m in (KAPPA, "phi") for end in ("", "_low", "_high")]
    assert found[-1][KAPPA] is found[-1][f"{KAPPA}_low"] is None


def test_a_bound_to_sort_by_brings_its_measure(zoo):
    found = records(zoo, "-m", "phi", "--ci", "delta", "--by", f"{KAPPA}_high")
    expected = ds.pairwise(zoo, ["phi", KAPPA], ci="delta").top(100, by=f"{KAPPA}_high")
    assert found == expected.to_pylist()
    highs = [r[f"{KAPPA}_high"] for r in found[:-1]]
    assert highs == sorted(highs)
    down = records(zoo, "--ci", "delta", "--by", "error_inconsistency_low", "--ascending")
    lows = [r["error_inconsistency_low"] for r in down]
    assert lows == sorted(lows)


def test_tests_and_null(zoo):
    found = records(zoo, "-m", KAPPA, "--test", "independence", "--null", "--draws", 20, "--by", "null_z")
    expected = ds.pairwise(zoo, KAPPA).test().null(draws=20)
    assert found == expected.top(100, by="null_z").to_pylist()
    assert list(found[0])[5:] == ["test_z", "test_p", "test_q", "null_expected", "null_z", "null_p", "null_q"]
    by_q = records(zoo, "-m", KAPPA, "--test", "independence", "--by", "test_q")
    assert [r["test_q"] for r in by_q[:3]] == sorted(r["test_q"] for r in by_q[:3])


def test_table_has_intervals_beside_values(zoo):
    lines = run("pairs", zoo.path, "--ci", "delta", "--level", 0.9).stdout.splitlines()
    assert lines[0] == (
        "10 pairs of 5 models on 200 examples, by error inconsistency, largest first, 90 % intervals (delta)"
    )
    assert max(map(len, lines)) <= 100
    assert "low" not in lines[2]
    row = next(r for r in ds.pairwise(zoo, KAPPA, ci="delta", level=0.9).top(1).to_pylist())
    cell = f"{row[KAPPA]:.3f} [{row[f'{KAPPA}_low']:.3f}, {row[f'{KAPPA}_high']:.3f}]"
    assert any(cell in line and row["model_a"] in line for line in lines)
    assert re.search(r"copy +truth .* –$", "\n".join(lines), re.M) or re.search(
        r"truth +copy .* –$", "\n".join(lines), re.M
    )
    plain = run("pairs", zoo.path).stdout
    assert "interval" not in plain
    text = run("pairs", zoo.path, "--ci", "delta", "--format", "csv").stdout
    assert "error_consistency_low" in next(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--level", "0.9"], 2, "--level goes with --ci"),
        (["--draws", "10"], 2, "--draws goes with --ci bootstrap or --null"),
        (["--ci", "delta", "--seed", "1"], 2, "--seed goes with --ci bootstrap or --null"),
        (["--ci", "delat"], 2, "Invalid value for '--ci'"),
        (["--ci", "delta", "--level", "95"], 1, "level must lie between 0 and 1, as 0.95 for 95 %; got 95.0"),
        (["--ci", "bootstrap", "--draws", "0"], 2, "Invalid value for '--draws'"),
        (["--null", "--draws", "3"], 1, "draws must be an integer of at least 4; got 3"),
        (["--by", "phi_low"], 2, "--by phi_low goes with --ci"),
        (["--by", "test_z"], 2, "--by test_z goes with --test"),
        (["--by", "null_q"], 2, "--by null_q goes with --null"),
        (["--ci", "delta", "--by", "fhi_low"], 1, "unknown measure 'fhi'; did you mean phi"),
        (["--test", "independence", "--by", "test_x"], 1, "unknown measure 'test_x'"),
    ],
)
def test_bad_options_are_one_clear_line(zoo, options, status, message):
    done = run("pairs", zoo.path, *options, status=status)
    assert message in done.stderr
    assert done.stdout == ""
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
