"""The table of comparisons: implementations give the same, times are told as they are."""

from __future__ import annotations

import gc
import importlib
import json
import re
import sys
import types
from dataclasses import replace
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


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # timm leaves image files to the garbage collector
@pytest.mark.parametrize("name", TABLE)
def test_all_implementations_give_the_same(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    one = TABLE[name]
    found = contests.check(one, one.data(tmp_path, **one.small), one.there())
    assert one.ours in found
    del found
    gc.collect()


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


def test_parts_are_joined_only_where_everything_is_the_same(tmp_path):
    kept, path = imported("measuring").kept, tmp_path / "r.json"
    frame = {"machine": "m", "threads": 2, "versions": {"numpy": "2"}, "date": "2026-11-30"}
    others = {"machine": "n"}, {"threads": 1}, {"versions": {"numpy": "3"}}
    assert kept(path, frame, lambda report: ["b"], models=9) == {}
    path.write_text(json.dumps({**frame, "date": "2026-11-29", "models": 9, "workers": None}))
    assert kept(path, frame, lambda report: ["b"], models=9, workers=None)["date"] == "2026-11-29"
    for other, sizes in [
        ({}, {"models": 8}),
        ({}, {"images": None}),  # a size that the older result does not tell
        *((other, {"models": 9}) for other in others),
    ]:
        assert kept(path, {**frame, **other}, lambda report: [], **sizes) == {}  # all is measured anew
        with pytest.raises(
            SystemExit, match=r"its other parts \(b\) cannot stand beside this run's"
        ) as ended:
            kept(path, {**frame, **other}, lambda report: ["b"], **sizes)
        assert "\n" not in ended.value.code
    with pytest.raises(
        SystemExit, match=r"with numpy 2, now 3; zarr absent, now 1: its other parts \(a, b, c"
    ):
        kept(path, {**frame, "versions": {"numpy": "3", "zarr": "1"}}, lambda report: list("cabd"), models=9)


def test_rows_of_other_functions_stay_and_the_oldest_day_is_told(tmp_path, monkeypatch):
    measuring = imported("measuring")
    path, sizes = comparisons.result_path(tmp_path, "comparisons"), {"repeats": 1, "small": True}
    row = {"implementation": "i", "kind": "ours", "date": "2020-01-01"}
    rows = [{"function": name, **row} for name in ("f", "kappa of all pairs")]
    monkeypatch.setattr(comparisons, "shown", lambda report: [])
    command = ["comparisons.py", "--small", "--only", "kappa", "--out", str(tmp_path), "--repeats"]
    path.write_text(json.dumps({**measuring.begin("?"), **sizes, "rows": rows}))
    monkeypatch.setattr(sys, "argv", [*command, "1"])
    comparisons.main()
    found = json.loads(path.read_text())
    assert {row["function"] for row in found["rows"]} == {"f", "kappa of all pairs"}
    assert [row["date"] for row in found["rows"]].count("2020-01-01") == 1
    assert found["date"] == "2020-01-01"


def kept_rows(tmp_path, monkeypatch, rows, *options, during=lambda one: None, **frame):
    """Run the table, measuring nothing, beside kept rows: rows or the error afterwards, and what began."""
    path, began = comparisons.result_path(tmp_path, "comparisons"), []

    def measured(one, arguments):
        during(one)
        began.append(one.name)
        return [{"function": one.name, "date": "2026-11-30"}]

    rows = [{"kind": "peer", "date": "2020-01-01", **row} for row in rows]
    kept = {**imported("measuring").begin("?"), "repeats": 1, "small": True, "rows": rows, **frame}
    path.write_text(json.dumps(kept))
    monkeypatch.setattr(comparisons, "measured", measured)
    monkeypatch.setattr(comparisons, "shown", lambda report: [])
    command = ["comparisons.py", "--small", "--repeats", "1", "--out", str(tmp_path), *options]
    monkeypatch.setattr(sys, "argv", command)
    try:
        comparisons.main()
    except SystemExit as ended:
        assert json.loads(path.read_text()) == kept
        return str(ended.code), began
    return json.loads(path.read_text())["rows"], began


def test_a_part_that_would_lose_kept_rows_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    rows = [
        {"function": name, "implementation": "i"} for name in ("kappa of all pairs", "counts of all pairs")
    ]
    part, other = ("--only", "kappa"), {"versions": {"pyarrow": "0"}}
    told, began = kept_rows(tmp_path, monkeypatch, rows, *part, **other)
    assert "pyarrow 0, now" in told
    assert "(counts of all pairs) cannot stand beside" in told
    assert told.endswith("or write to another folder (--out)")
    assert began == []
    assert "repeats 7, now 1" in kept_rows(tmp_path, monkeypatch, rows, *part, repeats=7)[0]
    found, began = kept_rows(tmp_path, monkeypatch, rows[:1], *part, **other)  # nothing else to lose
    assert [row["function"] for row in found] == began == ["kappa of all pairs"]


def test_a_part_without_the_peers_of_the_kept_rows_is_refused(tmp_path, monkeypatch):
    one = TABLE["kappa of all pairs"]
    peer = {"a peer": contests.Way(lambda x: x, needs="no_such_package")}
    monkeypatch.setitem(TABLE, one.name, replace(one, ways={**one.ways, **peer}))
    rows = [{"function": one.name, "implementation": "a peer"}]
    told, began = kept_rows(tmp_path, monkeypatch, rows, "--only", "kappa")
    assert "has a peer, which would be lost: not installed here" in told
    assert began == []


def test_a_whole_run_that_fails_leaves_what_it_would_replace(tmp_path, monkeypatch):
    rows, done = [{"function": "counts of all pairs", "implementation": "i"}], []

    def fails_later(one):
        done.append(one.name)
        if len(done) > 1:
            raise SystemExit("differs")

    old = {"versions": {"pyarrow": "0"}}
    assert kept_rows(tmp_path, monkeypatch, rows, during=fails_later, **old)[0] == "differs"
    assert len(done) == 2


def test_the_table_is_rendered_worst_first(tmp_path, monkeypatch):
    readme = imported("readme")
    row = {"function": "f", "sizes": {"n": 3}, "median_s": 0.1, "prepare_s": 0.0, "equal": "exactly"}
    rows = [
        {**row, "implementation": name, "kind": kind, "times_ours": {"median": r, "lowest": r, "highest": r}}
        | {"times_s": [0.1] * turns}
        for name, kind, r, turns in (
            ("we", "ours", 1.0, 3),
            ("slow", "peer", 3.0, 1),
            ("quick", "floor", 0.5, 3),
        )
    ]
    frame = {"machine": "m", "threads": 2, "date": "2026-11-30", "repeats": 3, "versions": {"numpy": "2"}}
    (tmp_path / "m-comparisons.json").write_text(json.dumps({**frame, "rows": rows}))
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    table = readme.comparisons()
    assert table.index("quick (floor) | 0.50") < table.index("slow (peer, one run) | 3.00")
    assert "| we" not in table


def test_all_plans_keeps_what_is_there_and_goes_on(tmp_path, monkeypatch, capsys):
    all_of = imported("all")
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["all.py", "--out", str(tmp_path), "--plan"])
    all_of.main()
    told = capsys.readouterr().out
    assert f"{len(all_of.STEPS)} of {len(all_of.STEPS)} left" in told
    assert all((BENCHMARKS / step.command.split()[0]).exists() for step in all_of.STEPS)
    frame = imported("measuring").begin("?")
    all_of.result_path(tmp_path, "pair-counts").write_text(json.dumps(frame))
    monkeypatch.setattr(sys, "argv", ["all.py", "--out", str(tmp_path), "--only", "pair-counts"])
    all_of.main()
    assert "there already" in capsys.readouterr().out
    old = {**frame, "date": "2020-01-01"}
    all_of.result_path(tmp_path, "pair-counts").write_text(json.dumps(old))
    monkeypatch.setattr(all_of, "done", lambda step, arguments: False)
    with pytest.raises(SystemExit, match="not done: pair-counts"):
        all_of.main()
    monkeypatch.setattr(sys, "argv", ["all.py", "--plan", "--dir", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="none is no folder: make it, or name another"):
        all_of.main()
    monkeypatch.setattr(sys, "argv", ["all.py", "--only", "nothing"])
    with pytest.raises(SystemExit, match="no benchmark is called nothing"):
        all_of.main()


def test_a_step_for_which_the_disk_has_no_room_does_not_run(tmp_path, monkeypatch, capsys):
    """But a sweep does, which leaves its largest sizes out."""
    all_of = imported("all")
    began = []
    monkeypatch.setattr(all_of, "free_gb", lambda step, arguments: 10.2)
    monkeypatch.setattr(all_of, "done", lambda step, arguments: began.append(step.name) or True)
    command = ["all.py", "--out", str(tmp_path), "--only", "study", "explain", "sweep"]
    monkeypatch.setattr(sys, "argv", [*command, "--plan"])
    all_of.main()
    told = capsys.readouterr().out
    assert "study does not run: 10.7 GB needed, 10.2 GB free" in told
    assert "sweep leaves its largest sizes out: 52 GB needed" in told
    assert "explain does not run" not in told
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="not done: study;"):
        all_of.main()
    assert began == ["explain", "sweep"]


def test_the_one_command_repeats_a_step_in_which_something_was_compiled(tmp_path, monkeypatch):
    all_of = imported("all")
    asked, codes = [], [75, 0, 1]
    monkeypatch.setattr(
        all_of.subprocess,
        "run",
        lambda command, **_: asked.append(command) or types.SimpleNamespace(returncode=codes.pop(0)),
    )
    arguments = types.SimpleNamespace(out=tmp_path, dir=tmp_path / "d")
    (sweep,) = [step for step in all_of.STEPS if step.name == "sweep"]
    assert all_of.done(sweep, arguments)
    assert asked[0] == asked[1]
    assert asked[0][-2:] == ["--folder", str(tmp_path / "d" / "large-sweep")]
    assert not all_of.done(sweep, arguments)
    assert codes == []


def test_every_block_and_picture_about_speed_is_made_by_a_step_of_the_one_command():
    steps = {step.name for step in imported("all").STEPS}
    blocks = {name.removesuffix("-told") for name in imported("readme").BLOCKS}
    assert blocks - steps == {"demo", "aims", "pictures", "storage", "synthetic", "faults"}
    assert {aim.result for aim in imported("aims").AIMS} <= steps
    drawn = set(re.findall(r'newest_or_none\("([\w-]+)"\)', (BENCHMARKS / "pictures.py").read_text()))
    assert drawn == {"scaling", "pair-workers", "sweep", "predictions"}
    assert drawn <= steps


def test_every_benchmark_of_the_readme_is_in_the_one_command():
    """Scripts that the rendered blocks name are run by `all.py`, but for what is no figure of speed."""
    steps = {step.command.split()[0] for step in imported("all").STEPS}
    text = (BENCHMARKS.parent / "README.md").read_text() + (BENCHMARKS / "README.md").read_text()
    rendered = re.findall(r"<!-- [\w-]+: rendered.*?<!-- end -->", text, re.S)
    named = {name for block in rendered for name in re.findall(r"`python benchmarks/(\w+\.py)", block)}
    assert named - steps <= {"storage.py", "synthetic.py"}


def test_every_benchmark_has_its_question_in_the_table():
    text = (BENCHMARKS / "README.md").read_text()
    scripts = {path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text()}
    named = set(re.findall(r"`python benchmarks/(\w+\.py)", text))
    assert scripts <= named


def test_an_aim_missed_by_less_than_is_shown_says_so():
    aims = imported("aim")
    one = aims.Aim("w", lambda result: result["s"], 30.0, result="study")
    assert "| over 30 s **missed** | at most 30 s |" in one.row({"s": 30.01, "date": "d"})
    assert "| 29.9 s | at most 30 s |" in one.row({"s": 29.9, "date": "d"})
    floor = replace(one, at_most=False)
    assert "| under 30 s **missed** | at least 30 s |" in floor.row({"s": 29.999, "date": "d"})


def test_sizes_of_an_aim_are_those_of_the_result():
    aim = imported("aim")
    (one,) = aim.of("study", aim.at_least("{zoo[models]} of {n:,}", lambda result: result["x"], 1, "%"))
    result = {"x": 0.955, "n": 5_000, "zoo": {"models": 3}, "date": "d"}
    row = "| 3 of 5,000 | 95.5 % **missed** | at least 100 % | d | `python benchmarks/study.py` |"
    assert one.row(result) == row
    table = imported("aims").table
    missing = dict.fromkeys(("date", "machine"), 1.0)
    told = table(lambda name: missing)
    assert told.startswith("Of 0 figures")
    assert "more were not measured: `python benchmarks/pair_counts.py`, `" in told


def test_what_costs_nothing_or_less_than_it_does_meets_its_limit():
    aim = imported("aim")
    (one,) = aim.of("study", aim.at_most("w", lambda result: result["x"], 0.03, "%"))
    assert [one.share({"x": x}) >= 1 for x in (-0.01, 0.0, 0.03, 0.031)] == [True, True, True, False]
    assert "**missed**" not in one.row({"x": -0.01, "date": "d"})


def test_every_step_of_the_one_command_has_its_small_run():
    names = "test_benchmarks*.py", "test_comparisons.py", "test_ingest_stream.py", "test_kernels_counts.py"
    text = "".join(path.read_text() for name in names for path in Path(__file__).parent.glob(name))
    scripts = {step.command.split()[0].removesuffix(".py") for step in imported("all").STEPS}
    assert [name for name in scripts if not re.search(rf'["/]{name}(\.py)?"', text)] == []


def test_the_one_command_tells_where_to_write_to_those_that_ask():
    for step in imported("all").STEPS:
        assert step.writes == ("writes=True" in (BENCHMARKS / step.command.split()[0]).read_text()), step.name


def test_forecasts_beside_measurements(tmp_path, monkeypatch, capsys):
    predictions = imported("predictions")
    jobs = importlib.import_module("dissensus.bench.jobs")
    small = replace(jobs.JOBS["pairs"], calibration=((3, 64, 2), (6, 64, 2)))
    monkeypatch.setitem(jobs.JOBS, "pairs", small)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sizes = ["--models", "4,9", "--examples", "80", "--classes", "2", "--jobs", "pairs"]
    folders = ["--folder", str(tmp_path / "s"), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["predictions.py", *sizes, *folders])
    predictions.main()
    report = json.loads(next(tmp_path.glob("*-predictions.json")).read_text())
    assert [row["models"] for row in report["rows"]] == [4, 9]
    assert all(row["memory_bytes_ratio"] > 0.5 for row in report["rows"])
    assert set(report["targets"]) == {
        "time within 30 %",
        "memory within 15 % and not too low",
        "memory too low",
    }
    assert "aim 100%" in capsys.readouterr().out
