"""The benchmarks of large stores run small, and what is told of their results is what they hold."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dissensus.bench import SyntheticZoo, planner
from dissensus.bench.cell import Taken
from dissensus.bench.jobs import JOBS, empty_store, fill
from dissensus.errors import ArgumentError
from test_answers_cli import run

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
JOBS_BYTES = 1 << 20  # room for a zoo of 3 models, not of 900
WHERE = {"machine": "AMD", "date": "2026-11-30", "load_before": 0.1}


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A store of 6 models x 300 examples x 10 classes."""
    made = SyntheticZoo(6, 300, 10)
    path = tmp_path_factory.mktemp("large") / "made.zoo"
    fill(empty_store(made, path), made, range(6))
    return path


def swept(tmp_path, monkeypatch, *options):
    """Run the sweep, its measurements being told: a second for every model."""

    def measure(cell, path, folder, limit_s):
        assert folder.is_dir()
        if not JOBS[cell.job].makes_store:
            assert len(list((path / "models").iterdir())) >= cell.models
        return Taken(float(cell.models), 2**20 * cell.models, 2**20, 0, 0)

    monkeypatch.setattr(sys.modules["dissensus.bench.sweep"], "measure", measure)
    monkeypatch.setattr(planner, "calibration_folder", lambda job: tmp_path / "calibration" / job)
    for job in ("pairs", "greedy"):
        monkeypatch.setitem(JOBS, job, replace(JOBS[job], calibration=((3, 64, 2), (6, 64, 2))))
    monkeypatch.setattr(sys, "argv", ["sweep.py", *map(str, options)])
    importlib.import_module("sweep").main()


def test_a_large_sweep_reads_the_store_that_is_there(tmp_path, zoo, monkeypatch):
    before = sorted(path for path in zoo.rglob("*") if "cache" not in path.parts)
    sizes = ("--models", "3,6", "--examples", 300, "--classes", 10, "--jobs", "pairs,greedy")
    folders = ("--folder", tmp_path / "f", "--out", tmp_path / "out")
    swept(tmp_path, monkeypatch, *sizes, *folders, "--store", zoo)
    report = json.loads(next((tmp_path / "out").glob("*-sweep.json")).read_text())
    assert [(row["job"], row["models"]) for row in report["rows"]] == [
        ("pairs", 3),
        ("pairs", 6),
        ("greedy", 3),
        ("greedy", 6),
    ]
    assert report["growth"][0]["models"] == pytest.approx(1)
    assert report["left_out"] == []
    assert sorted(path for path in zoo.rglob("*") if "cache" not in path.parts) == before
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["sweep.parquet"]
    block = importlib.import_module("readme_large").sweep(report)
    ratio = report["rows"][-1]["seconds_ratio"]
    assert f"| greedy | 6 x 300 x 10 | 6.00 s | {ratio:.2f} | 6 MiB |" in block
    assert "greedy, memory: models^1.32" in block  # from 2 MiB above the base to 5


def test_sizes_that_a_large_sweep_had_no_room_for_are_named_with_the_reason(tmp_path, zoo, monkeypatch):
    """Below its table; jobs of a size that lack the same stand together."""
    free = types.SimpleNamespace(free=JOBS_BYTES)
    monkeypatch.setattr(sys.modules["dissensus.bench.room"].shutil, "disk_usage", lambda path: free)
    sizes = ("--models", "3,900", "--examples", 300, "--classes", 10, "--jobs", "pairs,greedy")
    swept(tmp_path, monkeypatch, *sizes, "--folder", tmp_path / "f", "--out", tmp_path / "out")
    report = json.loads(next((tmp_path / "out").glob("*-sweep.json")).read_text())
    assert [row["models"] for row in report["rows"]] == [3, 3]
    (left,) = report["left_out"]
    assert left.startswith("900 x 300 x 10 (pairs, greedy): needs 18.8 MB of disk, 1.1 MB are allowed")
    block = importlib.import_module("readme_large").sweep(report)
    assert block.splitlines()[-1] == f"Left out: {left}."


def test_a_large_sweep_refuses_another_store(tmp_path, zoo, monkeypatch):
    for sizes in (("--models", "7"), ("--examples", "300,400"), ("--classes", 9)):
        options = ("--models", 6, "--examples", 300, "--classes", 10, *sizes, "--folder", tmp_path / "f")
        with pytest.raises(ArgumentError, match="is no zoo of this sweep"):
            swept(tmp_path, monkeypatch, *options, "--store", zoo, "--out", tmp_path)
    assert not (tmp_path / "f").exists()


def test_a_synthetic_zoo_is_set_beside_a_real_one(tmp_path, zoo, monkeypatch, capsys):
    one = importlib.import_module("synthetic")
    monkeypatch.setattr(sys, "argv", ["synthetic.py", str(zoo), "--out", str(tmp_path)])
    one.main()
    rows = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()[1:-1]]
    both = {name: (float(real), float(made)) for name, real, made in rows}
    real, made = both["accuracy, mean"]
    assert real == made  # it is the same zoo
    assert all(real == pytest.approx(made, abs=2e-3) for real, made in both.values())
    report = json.loads(next(tmp_path.glob("*-synthetic.json")).read_text())
    assert "| all models right | " in importlib.import_module("readme_large").synthetic(report)
    assert both["NLL, its 99th percentile"][0] > both["NLL, median of models"][0] > 0


def test_a_report_of_kept_measurements_bears_the_day_of_the_oldest():
    days = ("2026-11-30T01:00:00Z", "2026-10-02T23:00:00Z")
    assert importlib.import_module("measuring").first_day(days) == "2026-10-02"


def test_the_benchmark_of_a_study_runs_small(tmp_path):
    """On a store that it makes, as `all.py` asks."""
    sizes = ["--models", "6", "--examples", "300", "--classes", "10"]
    command = [sys.executable, BENCHMARKS / "study.py", *sizes, "--out", tmp_path, "--dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(next(tmp_path.glob("*-study.json")).read_text())
    assert report["equal_results"]
    assert report["models"] == 6
    assert report["seconds"] > 0
    assert report["peak_anonymous_bytes"] > 2**20
    assert "study` of 6 x 300 x 10 in" in importlib.import_module("readme_large").study(report)
    assert [path.name for path in tmp_path.iterdir()] == [next(tmp_path.glob("*.json")).name]


def forecast(memory, seconds):
    size = {"job": "pairs", "models": 9, "examples": 8, "classes": 7, "beyond": 2.0}
    return size | {
        "seconds": 1.0,
        "predicted_seconds": seconds,
        "seconds_ratio": seconds,
        "memory_bytes": 2**20,
        "predicted_memory_bytes": memory * 2**20,
        "memory_bytes_ratio": memory,
    }


def test_forecasts_are_judged_and_the_worst_told_first():
    one = importlib.import_module("predictions")
    rows = [forecast(1.1, 1.25), forecast(0.9, 0.5), forecast(2.0, 1.31)]
    found = {name: target["found"] for name, target in one.targets(rows).items()}
    assert list(found.values()) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    report = {**WHERE, "rows": rows, "targets": one.targets(rows), "left_out": ["store: no room"]}
    lines = importlib.import_module("readme_large").predictions(report).splitlines()
    ratios = [line.split(" | ")[4] for line in lines if line.startswith("| pairs")]
    assert ratios == ["0.90", "2.00", "1.10"]
    assert lines[-1] == "Left out: store: no room."
    assert any("time within 30 %: 33% (aim 100%)" in line for line in lines)


def test_what_was_not_measured_says_so(tmp_path, monkeypatch):
    readme = importlib.import_module("readme")
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    assert readme.BLOCKS["full-store"]() == "Not measured yet: `python benchmarks/full_store.py`."
    assert readme.newest_or_none("study") is None


def test_a_full_store_of_which_a_part_was_measured():
    size = {"models": 9, "examples": 8, "classes": 7, "store_bytes": 10**9, "steps": 5}
    times = {"greedy": {"cold": 2.0}, "pairs": {"cold": 3.0, "warm": 1.0}}
    found = {**WHERE, **size, "times_s": times, "private_bytes": {"greedy": 2**20}}
    lines = importlib.import_module("readme_large").full_store(found).splitlines()
    assert lines[-2].endswith("| 2.0 s | – | 1 MiB |")
    assert lines[-1].endswith("| 3.0 s | 1.0 s | – |")


def test_both_ends_of_the_aims_are_told():
    short = importlib.import_module("readme_short")
    table = "\n".join(["told:", "", "| what |", "|---|", *(f"| {i} |" for i in range(10))])
    lines = short.aims(table, worst=3, best=2).splitlines()
    assert lines[4:7] == ["| 0 |", "| 1 |", "| 2 |"]
    assert lines[7].startswith("| … 5 more")
    assert lines[8:] == ["| 8 |", "| 9 |"]
    assert short.aims(table, worst=6, best=4) == table


def contest(name, kind, times):
    size = {"models": 4, "examples": 9}
    row = {"function": "counts of all pairs", "implementation": name, "kind": kind}
    return [
        {**row, "sizes": {**size, "models": m}, "median_s": seconds}
        for m, seconds in zip((4, 8), times, strict=True)
    ]


def test_ours_peers_and_roofs_are_on_one_picture(tmp_path, monkeypatch):
    pictures = importlib.import_module("pictures")
    rows = contest("popcount roof", "roof", (0.5, 2.0)) + contest("ours", "ours", (1.0, 4.0))
    rows += contest("theirs", "peer", (3.0, 8.0))
    scaled = {**WHERE, "rows": [*rows, {**rows[0], "function": "another"}]}
    (tmp_path / "amd-scaling.json").write_text(json.dumps(scaled))
    shutil.copy(next((BENCHMARKS / "results").glob("*-pair-workers.json")), tmp_path)
    rows = [{**forecast(1.5, 3.0), "models": models} for models in (4, 9)]
    (tmp_path / "amd-predictions.json").write_text(json.dumps({**WHERE, "rows": rows}))
    monkeypatch.setattr(pictures.readme, "RESULTS", tmp_path)
    found = dict(pictures.drawn())
    assert list(found) == ["counts-of-all-pairs", "workers", "plan-pairs"]
    plan = found["plan-pairs"].axes
    assert [line.get_label() for line in plan[0].lines] == ["measured", "foretold"]
    assert [list(line.get_ydata()) for line in plan[3].lines] == [[1, 1], [1.5, 1.5]]
    assert len(plan) == 6
    time, ratio = found["counts-of-all-pairs"].axes
    assert [line.get_label() for line in time.lines] == ["ours", "theirs", "popcount roof"]
    assert time.lines[-1].get_linestyle() != "-"
    assert [list(line.get_ydata()) for line in ratio.lines] == [[1, 1], [3, 2], [0.5, 0.5]]
    seconds, faster = found["workers"].axes
    assert [line.get_label() for line in seconds.lines[:2]] == ["threads of one process", "Dask workers"]
    assert seconds.lines[2].get_ydata()[1] == pytest.approx(seconds.lines[0].get_ydata()[0] / 2)
    assert list(faster.lines[2].get_ydata()) == [1, 2]
    threads = seconds.lines[0].get_ydata()
    assert list(faster.lines[0].get_ydata()) == pytest.approx([1, threads[0] / threads[1]])


def test_the_other_part_of_streaming_stays_only_at_the_same_sizes(tmp_path, monkeypatch):
    speed = importlib.import_module("ingest_speed")
    monkeypatch.setattr(
        speed, "measure", lambda root, arguments, device: {speed.PARTS[arguments.only[0]]: ["new"]}
    )
    monkeypatch.setattr(speed, "show", lambda report: None)

    def run(part, images):
        options = ("--only", part, "--images", images, "--device", "cpu", "--out", tmp_path)
        monkeypatch.setattr(sys, "argv", ["ingest_speed.py", *map(str, options)])
        speed.main()
        path = next(tmp_path.glob("*-ingest-speed.json"))
        return path, json.loads(path.read_text())

    path, report = run("stream", 8)
    path.write_text(json.dumps({**report, "loops": ["old"], "date": "2020-01-01"}))
    report = run("shared", 8)[1]
    assert (report["loops"], report["peers"], report["date"]) == (["old"], ["new"], "2020-01-01")
    with pytest.raises(SystemExit, match=r"with images 8, now 9: its other parts \(loops\) cannot stand"):
        run("shared", 9)
    assert json.loads(path.read_text()) == report


def test_a_part_of_a_full_store_is_joined_with_the_same_results_only():
    one = importlib.import_module("full_store")
    times, private = {"greedy": {"cold": 2.0, "warm": 1.0}}, {"greedy": 7}
    old = {"times_s": times, "private_bytes": private, "results": {"greedy": 3}, "peak_bytes": 9}
    old |= {"date": "2020-01-01"}
    part = {"times_s": {"greedy": {"warm": 0.5}}, "private_bytes": {"greedy": 6}, "results": {"greedy": 3}}
    part |= {"peak_bytes": 8, "date": "2026-11-30"}
    one.add_kept(part, old)
    assert part["times_s"] == {"greedy": {"cold": 2.0, "warm": 0.5}}
    assert (part["private_bytes"], part["peak_bytes"], part["date"]) == ({"greedy": 7}, 9, "2020-01-01")
    whole = {**old, "private_bytes": {"greedy": 5}, "results": {"greedy": 4}, "date": "2026-11-30"}
    one.add_kept(whole, old)  # all of it was measured anew: nothing is taken over
    assert (whole["private_bytes"], whole["date"]) == ({"greedy": 5}, "2026-11-30")
    other = {**part, "times_s": {"greedy": {"warm": 0.5}}, "results": {"greedy": 4}}
    with pytest.raises(SystemExit, match="greedy: other results when asked again"):
        one.add_kept(other, old)


def test_importing_real_predictions_runs_small(tmp_path, monkeypatch, capsys):
    one = importlib.import_module("imports")
    data = real_predictions(tmp_path / "data")

    def notebook(command):
        name = command[-1]
        return json.dumps(one.PARTS[name][2](data / one.PARTS[name][0]))

    monkeypatch.setattr(one, "output", notebook)
    monkeypatch.setattr(one, "dissensus", lambda *words: run(*words).stdout)
    options = ("--data", data, "--repeats", 1, "--out", tmp_path / "out", "--dir", tmp_path)
    monkeypatch.setattr(sys, "argv", ["imports.py", *map(str, options)])
    one.main()
    report = json.loads(next((tmp_path / "out").glob("*-imports.json")).read_text())
    assert report["equal_results"]
    assert all(seconds > 0 for ways in report["median_s"].values() for seconds in ways.values())
    assert {name: len(ways) for name, ways in report["times_s"].items()} == {"ImageNet": 2, "CIFAR-10": 2}
    block = importlib.import_module("readme_large").imports(report)
    assert block.count("| ImageNet |") == block.count("| CIFAR-10 |") == 1
    np.save(data / "cifar10-thirty-models" / "original-labels.npy", np.array([1, 1, 2, 0]))
    shutil.rmtree(data / "imagenet-val-four-frameworks")
    monkeypatch.setattr(one, "require_equal", lambda name, store, expected: found.update(expected))
    found = {}
    one.main()
    assert found == {"a": 0.75, "b": 0.25}
    assert "ImageNet: left out" in capsys.readouterr().out


def real_predictions(data):
    """Folders as those of the real data, of four examples and two models each."""
    imagenet, cifar10 = data / "imagenet-val-four-frameworks", data / "cifar10-thirty-models"
    (cifar10 / "original").mkdir(parents=True)
    np.save(cifar10 / "original-labels.npy", np.array([0, 1, 2, 0]))
    for name, predicted in (("a", [0, 1, 2, 0]), ("b", [0, 1, 0, 1])):
        (cifar10 / "original" / f"{name}.json").write_text(json.dumps(predicted))
    imagenet.mkdir()
    names = [f"val_{i}.JPEG" for i in (3, 1, 0, 2)]
    for file, column, classes in (
        ("labels", "label", [0, 1, 2, 0]),
        ("ViT", "predicted_class", [0, 1, 2, 1]),
        ("DINO", "predicted_class", [2, 1, 1, 0]),
    ):
        rows = [f"{name},{one}" for name, one in zip(names, classes, strict=True)]
        (imagenet / f"{file}.csv").write_text("\n".join([f"file_name,{column}", *rows, ""]))
    (imagenet / "metaclasses.csv").write_text("class_id,name\n0,x\n1,y\n2,z\n")
    (imagenet / "real-labels.jsonl").write_text(json.dumps([[2, 1], [], [0], [0, 1]]))
    return data


def test_accuracies_that_are_not_those_of_the_files_end_the_run(monkeypatch):
    one = importlib.import_module("imports")
    monkeypatch.setattr(one, "dissensus", lambda *words: '[{"model": "a", "accuracy": 0.5}]')
    one.require_equal("CIFAR-10", "c.zoo", {"a": 0.5})
    for other in ({"a": 0.25}, {"a": 0.5, "b": 0.5}, {"a": 0.5, "ReaL a": 0.75}):
        with pytest.raises(SystemExit, match="CIFAR-10: accuracies"):
            one.require_equal("CIFAR-10", "c.zoo", other)


def test_the_benchmark_of_the_demo_keeps_what_was_printed(tmp_path, monkeypatch):
    one = importlib.import_module("demo")
    asked = []
    monkeypatch.setattr(one, "ask", lambda *words, folder: asked.append(words) or '{"models": 3}')
    monkeypatch.setattr(sys, "argv", ["demo.py", "--data", "digits", "--out", str(tmp_path)])
    one.main()
    report = json.loads(next(tmp_path.glob("*-demo-digits.json")).read_text())
    assert (report["models"], report["output"]) == (3, '{"models": 3}')
    assert report["command"] == "dissensus demo --data digits"
    assert asked[0] == ("demo", "--data", "digits")
