"""What the store promises under faults, a sample of each; `python -m tests.faults --full` tries all."""

from __future__ import annotations

import pytest

from faults.figures import Effort, Figure
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
