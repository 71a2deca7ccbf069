"""The table of comparisons: implementations give the same, times are told as they are."""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def imported(name):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(BENCHMARKS))


comparisons, contests = imported("comparisons"), imported("contests")
TABLE = comparisons.COMPARISONS


@pytest.mark.parametrize("name", TABLE)
def test_all_implementations_give_the_same(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    one = TABLE[name]
    assert contests.check(one, one.data(tmp_path, **one.small), one.there())


def two(ours, theirs, **options):
    """A comparison of two functions of a number."""
    ways = {
        "ours": contests.Way(lambda x: lambda: ours(x)),
        "theirs": contests.Way(lambda x: lambda: theirs(x), **options),
    }
    data = {"data": lambda place, n: np.float64(n), "small": {"n": 3}, "large": {"n": 9}}
    return contests.Comparison("a square", "?", ways=ways, equal=contests.exactly, **data)


def test_another_result_ends_the_run(tmp_path):
    with pytest.raises(AssertionError, match="theirs"):
        contests.race(two(lambda x: x * x, lambda x: x + x), tmp_path, {"n": 3}, 2)


def test_a_roof_has_no_result(tmp_path):
    roof = two(lambda x: x * x, lambda x: None, kind=contests.ROOF)
    assert set(contests.race(roof, tmp_path, {"n": 3}, 2)) == {"ours", "theirs"}


def test_what_is_not_installed_is_left_out_by_name(tmp_path, capsys):
    absent = two(lambda x: x, lambda x: x, needs="no_such_package")
    assert set(contests.race(absent, tmp_path, {"n": 3}, 2)) == {"ours"}
    assert "theirs is left out, no_such_package is not installed" in capsys.readouterr().out


def test_set_up_again_where_it_has_to_be(tmp_path):
    made = []
    one = two(lambda x: x, lambda x: x)
    way = contests.Way(lambda x: made.append(x) or (lambda: x), fresh=True)
    contests.race(one, tmp_path, {"n": 3}, 4, {"ours": one.ways["ours"], "theirs": way})
    assert len(made) == 5  # for the check, and for each turn


def test_ratios_are_of_the_same_turn():
    times = {
        "ours": contests.Times(0, 0, [1.0, 2.0, 4.0]),
        "theirs": contests.Times(0, 0, [2.0, 6.0, 4.0]),
        "slow": contests.Times(0, 0, [8.0]),
    }
    found = contests.ratios(times, "ours")
    assert found["theirs"] == {"median": 2.0, "lowest": 1.0, "highest": 3.0}
    assert found["slow"] == {"median": 4.0, "lowest": 2.0, "highest": 8.0}
    assert set(found["ours"].values()) == {1.0}


def test_the_table_is_printed_worst_first(tmp_path, monkeypatch, capsys):
    command = [
        "comparisons.py",
        "--small",
        "--repeats",
        "1",
        "--only",
        "kappa",
        "counts",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--dir", str(tmp_path)])
    comparisons.main()
    report = json.loads(next(tmp_path.glob("*-comparisons.json")).read_text())
    assert {row["function"] for row in report["rows"]} == {"kappa of all pairs"}
    ratios = [row["times_ours"]["median"] for row in comparisons.worst_first(report["rows"])]
    assert ratios == sorted(ratios)
    assert report["equal_results"]
    assert report["small"]
    assert "ours:\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [next(tmp_path.glob("*.json")).name]


def test_an_unknown_comparison_is_refused(monkeypatch):
    arguments = types.SimpleNamespace(only=["no such"], list=False)
    monkeypatch.setattr(comparisons, "parse_arguments", lambda: arguments)
    with pytest.raises(SystemExit, match=r"no comparison has no such in its name: see --list"):
        comparisons.main()
