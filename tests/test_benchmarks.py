"""The benchmarks run, so that they cannot rot; the others are with what they measure."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numba
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
STREAMED = ["--examples", "20", "--images", "8", "--larger-images", "4", "--models", "2", "--classes", "12"]
SMALL = ["--examples", "600", "--classes", "20", "--models", "2", "--listed", "5", "--predicted", "9"]


def ran(script, out, *options):
    """Report of a benchmark that runs small, and what it printed; it leaves nothing but its result."""
    command = [sys.executable, BENCHMARKS / f"{script}.py", *map(str, options), "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 75:  # something was compiled while the clock ran: `all.py` repeats it too
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (result,) = out.iterdir()
    assert result.name.endswith(f"-{script.replace('_', '-')}.json")
    report = json.loads(result.read_text())
    assert report["equal_results"]
    return report, done.stdout


def test_the_benchmark_of_the_store_runs_small(tmp_path):
    report, _ = ran("store_speed", tmp_path, *SMALL, "--repeats", "1", "--dir", tmp_path)
    assert {"write", "read, cached", "read, cold", "verify, cold", "fresh process"} <= report[
        "median_s"
    ].keys()
    assert all(target["found"] > 0 for target in report["targets"].values())
    assert report["model_bytes"]["dissensus"] > 2 * 600 * 20


def test_the_benchmark_of_questions_runs_small(tmp_path):
    sizes = ["--models", "9", "--examples", "400", "--classes", "20", "--scored", "4", "--draws", "20"]
    report, _ = ran("pair_queries", tmp_path, *sizes, "--repeats", "1", "--dir", tmp_path)
    assert all(seconds > 0 for seconds in report["median_s"].values())
    assert len(report["targets"]) == 5


def test_the_benchmark_of_explanations_runs_small(tmp_path):
    sizes = ["--models", "9", "--examples", "300", "--classes", "12", "--members", "3"]
    options = ["--scored-examples", "200", "--repeats", "1", "--dir", tmp_path]
    report, _ = ran("explain", tmp_path, *sizes, *options)
    assert len(report["median_s"]) == 6
    assert all(seconds > 0 for seconds in report["median_s"].values())
    block = rendered(tmp_path, "explain")
    assert "3 members x 200 examples x 12 classes" in block
    ratios = [float(line.split(" | ")[1]) for line in block.splitlines() if line.startswith("| `")]
    assert len(ratios) == 3
    assert ratios == sorted(ratios)


def test_the_benchmark_of_streaming_runs_small(tmp_path):
    turns = ["--repeats", "1", "--peer-repeats", "1", "--threads", "1", "--timm-workers", "0"]
    options = [*turns, "--batch-size", "10", "--device", "cpu", "--dir", tmp_path]
    parts = ["--only", "stream", "shared"]  # the third has a test of its own
    report, printed = ran("ingest_speed", tmp_path, *parts, *STREAMED, *options)
    assert re.match(r"about \d+\.\d minutes on two cores that are free: stream \d\.\d, shared", printed)
    for loop in report["loops"]:
        assert loop["examples"] == 20
        assert loop["predicted_classes"] > 1
        assert {len(times) for times in loop["times_s"].values()} == {1}
        assert 0 < loop["ratios"]["device busy"]["median"] <= 1
    for peers in report["peers"]:
        n, ours, theirs = peers["decodes"].values()
        assert (ours, theirs) == (n, len(peers["models"]) * n)
        assert all(ratio["median"] > 0 for ratio in peers["ratios"].values())
    table = rendered(tmp_path, "ingest-speed")
    assert [table.count(f"| {loop['architecture']}, {loop['side']} px |") for loop in report["loops"]] == [
        1,
        1,
        1,
    ]
    assert "| 2 small models at 96 px, 8 files of 500x375 |" in table


def rendered(results, block):
    """A block of the README, made from these results."""
    code = (
        "import sys, pathlib, readme; readme.RESULTS = pathlib.Path(sys.argv[1]); "
        "print(readme.BLOCKS[sys.argv[2]]())"
    )
    command = [sys.executable, "-c", code, results, block]
    return subprocess.run(command, cwd=BENCHMARKS, stdout=subprocess.PIPE, text=True, check=True).stdout


def peers():
    """What the benchmark compares predictions with."""
    spec = importlib.util.spec_from_file_location("ingest_peers", BENCHMARKS / "ingest_peers.py")
    sys.path.insert(0, str(BENCHMARKS))
    try:
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def test_the_benchmark_of_streaming_refuses_other_predictions():
    """A near tie may be decided otherwise and is counted; another class ends the run."""
    contest = types.SimpleNamespace(models=[types.SimpleNamespace(model_id="m")])
    logits = np.array([[0.0, 1.0, 1.0 - 1e-6], [5.0, 1.0, 0.0]], np.float32)
    require_equal = peers().require_equal
    assert require_equal(contest, np.array([[1, 0]]), [logits]) == 0
    assert require_equal(contest, np.array([[2, 0]]), [logits]) == 1
    for found, ties in (([2, 0], False), ([0, 0], True), ([1, 1], True)):
        with pytest.raises(SystemExit, match=r"m: 1 of 2 predictions are not timm's"):
            require_equal(contest, np.array([found]), [logits], ties=ties)


def test_the_benchmark_of_workers_runs_small(tmp_path):
    sizes = ["--models", "12", "--examples", "400", "--classes", "20", "--repeats", "1"]
    report, _ = ran("pair_workers", tmp_path, *sizes, "--dir", tmp_path)
    assert [run["models"] for run in report["by_models"]] == [3, 6, 12]
    assert [run["examples"] for run in report["by_examples"]] == [100, 200, 400]
    assert report["threads"][0]["threads"] == report["workers"][0]["workers"] == 1
    assert all(run["seconds"] > 0 for run in report["threads"] + report["workers"])
    assert "12 models x 400 examples x 20 classes" in rendered(tmp_path, "pair-workers")


def test_the_benchmark_of_scale_runs_small(tmp_path):
    sizes = ["--models", "320", "--examples", "200", "--matrix", "90"]
    report, _ = ran("pair_scale", tmp_path, *sizes, "--dir", tmp_path)
    assert [run["models"] for run in report["by_models"]] == [40, 80, 160, 320]
    assert [run["examples"] for run in report["by_examples"]] == [100, 200, 400, 800]
    assert all(run["seconds"] > 0 and run["peak_bytes"] > 0 for run in report["by_models"])
    assert len(report["matrix"]["seconds"]) == 3
    assert "320 models x 200 examples" in rendered(tmp_path, "pair-scale")


def test_the_benchmark_of_greedy_selection_runs_small(tmp_path):
    sizes = ["--models", "5", "--examples", "200", "--classes", "30", "--steps", "4"]
    zoo = ["--zoo-models", "9", "--zoo-examples", "300", "--zoo-steps", "5"]
    report, _ = ran("greedy", tmp_path, *sizes, *zoo)
    assert [work["pairs"] for work in report["work"]] == [1000] * 4
    assert [work["pairs"] for work in report["zoo"]["work"]] == [2700] * 5
    assert all(seconds > 0 for seconds in [*report["median_s"].values(), *report["zoo"]["step_s"]])
    assert report["zoo"]["accuracy"] > 0.3
    assert len(report["targets"]) == 4


def test_the_benchmark_of_a_full_store_runs_small(tmp_path):
    sizes = ["--models", "4", "--examples", "600", "--classes", "10", "--steps", "3"]
    report, _ = ran("full_store", tmp_path, *sizes)
    assert list(report["times_s"]) == ["greedy", "pairs", "duo"]
    assert all(set(times) == {"cold", "warm"} for times in report["times_s"].values())
    assert report["results"]["pairs"]["pair_accuracy"] > 0.5
    assert all(2**20 < taken < report["peak_bytes"] for taken in report["private_bytes"].values())
    again, _ = ran("full_store", tmp_path, *sizes, "--only", "duo", "--condition", "warm")
    assert again["times_s"]["greedy"] == report["times_s"]["greedy"]
    assert again["times_s"]["duo"]["cold"] == report["times_s"]["duo"]["cold"]
    assert again["results"] == report["results"]
    command = [sys.executable, BENCHMARKS / "full_store.py", "--only", "duo", "--out", tmp_path]
    done = subprocess.run([*command, "--models", "3"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "with models 4, now 3; examples 600, now 50000" in done.stderr
    assert "its other parts (greedy cold, greedy warm, pairs cold and 1 more)" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(next(tmp_path.iterdir()).read_text()) == again


def test_the_benchmark_of_peers_of_greedy_selection_runs_small(tmp_path):
    """Peers that are not installed are left out by name."""
    sizes = ["--models", "5", "--examples", "300", "--classes", "20", "--steps", "4"]
    report, printed = ran("greedy_peers", tmp_path, *sizes)
    ways = {(row["metric"], row["way"]) for row in report["rows"]}
    assert {(m, w) for m in ("accuracy", "nll") for w in ("dissensus", "dissensus, brute force")} <= ways
    assert all(row["step_s"] > 0 for row in report["rows"])
    for metric, peer in (("accuracy", "autogluon.core"), ("nll", "tabarena fast_log_loss")):
        assert ((metric, peer) in ways) != (f"left out: {peer} (" in printed)


def test_the_benchmark_of_pair_ensembles_runs_small(tmp_path):
    sizes = ["--models", "30", "--examples", "600", "--classes", "40", "--compared", "30"]
    report, _ = ran("pair_ensembles", tmp_path, *sizes)
    assert report["examples_counted"] == 600
    assert sum(report["work"].values()) == 600 * 30 * 31 // 2
    assert report["work"]["margins"] > report["work"]["views"] > report["work"]["rows"]
    assert report["columns_an_example"] > 0
    assert report["confidence"] < report["surer_models"]["confidence"] < 1
    assert len(report["times_s"]) == 4
    assert all(seconds > 0 for seconds in report["times_s"].values())


COMPILED = """
import sys
import numba
from dissensus.kernels import margins, pair_ensembles, pair_rows, views
from pair_ensembles import Surer, TILE, Zoo, compile_all, count

kernels = [
    found
    for module in (margins, pair_ensembles, pair_rows, views)
    for found in vars(module).values()
    if isinstance(found, numba.core.dispatcher.Dispatcher)
]
for kind in (Zoo, Surer):
    compile_all(kind(TILE + 1, 40))
before = [len(kernel.signatures) for kernel in kernels]
for kind in (Zoo, Surer):
    assert count(kind(TILE + 40, 40), 70, 60.0)["work"]["rows"] > 0
sys.exit(before != [len(kernel.signatures) for kernel in kernels] or not any(before))
"""


def test_all_that_pair_ensembles_time_is_compiled_before_the_clock():
    """Also where the cache holds it all: what was neither compiled nor loaded beforehand has no signature."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED], cwd=BENCHMARKS, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_part_of_greedy_selection_keeps_the_zoo(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import greedy

    monkeypatch.setattr(greedy, "in_memory", lambda arguments: {"classes": arguments.classes, "targets": {}})
    monkeypatch.setattr(greedy, "in_own_process", lambda: {"seconds": 2.0, "peak_bytes": 3})

    def run(*options):
        monkeypatch.setattr(sys, "argv", ["greedy.py", "--out", str(tmp_path), *options])
        greedy.main()
        (path,) = tmp_path.iterdir()
        return json.loads(path.read_text())

    part, whole = run("--only", "memory"), run()
    assert "zoo" not in part
    assert set(whole["targets"]) == {"zoo_seconds", "zoo_peak_bytes"}
    assert run("--only", "memory") == whole
    with pytest.raises(SystemExit, match=r"classes 1000, now 9: its other parts \(zoo\) cannot stand"):
        run("--only", "memory", "--classes", "9")


def test_a_time_in_which_something_was_compiled_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    import measuring

    @numba.njit(cache=True)
    def kernel(x):
        return x + 1

    @numba.njit
    def never_kept(x):
        return x + 1

    with pytest.raises(SystemExit) as ended:
        measuring.timed(lambda: kernel(1))
    assert ended.value.code == measuring.AGAIN
    told = capsys.readouterr().err
    assert "compiled while the clock ran:" in told
    assert "kernel. Run it again" in told
    assert measuring.timed(lambda: kernel(1)) > 0
    assert measuring.timed(lambda: never_kept(1)) > 0  # compiled whenever it is asked: part of the question
    with pytest.raises(SystemExit), measuring.nothing_compiled():
        kernel(1.0)  # of another type


def test_a_part_in_a_process_of_its_own_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import measuring

    part = tmp_path / "part.py"
    part.write_text(
        "import pathlib, sys\n"
        "told = pathlib.Path(__file__).with_suffix('.txt')\n"
        "told.exists() or sys.exit(told.write_text('x') and 75)\n"
        "print('found')\n"
    )
    assert measuring.asked([sys.executable, str(part)]) == "found\n"
    part.write_text("import sys; sys.exit(3)")
    with pytest.raises(SystemExit, match=r"part.py failed in a process of its own, status 3"):
        measuring.asked([sys.executable, str(part)])
