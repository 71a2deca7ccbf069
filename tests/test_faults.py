"""What the store promises under faults, a sample of each; `python -m tests.faults --full` tries all."""

from __future__ import annotations

import pytest

from faults.effort import Effort
from faults.figures import Figure
from faults.kept import Kept
from faults.table import FAULTS


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost(name, tmp_path, record_property):
    figure = FAULTS[name](tmp_path, Effort())
    record_property("fault", figure.line())
    assert figure.problems == []
    assert (figure.tried > 0) is (figure.note != "this user may not mount")


def test_a_sample_is_seeded_and_holds_both_ends():
    cases = range(1000)
    assert Effort(seed=1).pick(cases, 10) == Effort(seed=1).pick(cases, 10) != Effort(seed=2).pick(cases, 10)
    assert {0, 999} <= set(Effort().pick(cases, 10))
    assert Effort(full=True).pick(cases, 10) == list(cases)


def test_a_figure_counts_trials_not_problems():
    figure = Figure("fault", "promise")
    figure.count("a", ["one", "two"])
    figure.count("b", [])
    figure.demand("whole", [])
    assert (figure.tried, figure.lost, figure.problems) == (2, 1, ["a: one", "a: two"])
    figure.demand("whole", ["three"])
    assert (figure.tried, figure.lost, figure.problems[-1]) == (3, 2, "whole: three")


def test_a_run_that_was_broken_off_goes_on(tmp_path):
    path, tried = tmp_path / "build" / "kept.jsonl", []

    def make():
        tried.append(1)
        return Figure("fault", "promise", tried=3)

    Kept(path, 7).made("a", make)
    with path.open("a") as file:
        file.write('{"run": "torn')
    assert Kept(path, 7).made("a", make) == Figure("fault", "promise", tried=3)
    assert len(tried) == 1
    Kept(path, 7).made("b", make)  # behind the torn line
    assert Kept(path, 7).get("b") is not None
    Kept(path, 8).made("a", make)  # another seed
    assert len(tried) == 3


def test_what_was_lost_is_tried_again(tmp_path):
    path = tmp_path / "kept.jsonl"
    lost = Kept(path).put("a", Figure("fault", "promise", tried=3, lost=1))
    assert lost.lost == 1
    assert Kept(path).get("a") is None
