"""Synthetic zoos, and sweeps over them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import dissensus as ds
from dissensus.bench import Budget, Statistics, SyntheticZoo, costs, sweep
from dissensus.bench.cell import Cell, Taken, run
from dissensus.bench.costs import ANSWERS, COUNTS, IN_BLOCK, LOGITS, ONCE, ROWS, CostModel
from dissensus.bench.estimates import calibration_folder
from dissensus.bench.growth import exponents
from dissensus.bench.jobs import JOBS, empty_store, fill, store_bytes
from dissensus.bench.pictures import pictures, sweep_rows
from dissensus.bench.planner import MeasuringFailed, calibrate
from dissensus.bench.remains import empty
from dissensus.bench.results import DONE, read_rows, row_of, write_rows
from dissensus.bench.room import held, room
from dissensus.errors import ArgumentError, UnknownName, WriterBusy
from dissensus.plots.scaling import Line, Panel, scaling
from dissensus.store.locks import FileLock
from dissensus_cli.main import cli


@pytest.fixture(scope="module")
def zoo():
    return SyntheticZoo(10, 3000, 10, seed=1)


@pytest.fixture(scope="module")
def correct(zoo):
    return np.array([zoo.logits(m, 0, 3000).argmax(axis=1) == zoo.labels for m in range(10)])


def test_any_block_can_be_made_by_itself(zoo):
    whole = zoo.logits(3, 0, 3000)
    for start, stop in ((0, 1), (17, 1000), (2999, 3000)):
        assert np.array_equal(whole[start:stop], SyntheticZoo(10, 3000, 10, seed=1).logits(3, start, stop))
    assert not np.array_equal(whole, SyntheticZoo(10, 3000, 10, seed=2).logits(3, 0, 3000))


def test_a_larger_zoo_begins_with_the_smaller(zoo):
    assert np.array_equal(zoo.logits(2, 0, 50), SyntheticZoo(500, 3000, 10, seed=1).logits(2, 0, 50))


def test_models_have_the_accuracy_they_are_set_to(zoo, correct):
    assert np.abs(correct.mean(axis=1) - zoo.accuracies).max() < 0.02


def test_models_of_a_family_are_more_alike(zoo, correct):
    kappa = _kappa(correct)
    same = np.array([[zoo.family(a) == zoo.family(b) for b in range(10)] for a in range(10)])
    np.fill_diagonal(kappa, np.nan)
    assert np.nanmean(kappa[same]) > np.nanmean(kappa[~same]) + 0.01 > 0.5


def _kappa(correct):
    accuracy = correct.mean(axis=1)
    apart = (correct[:, None] != correct[None]).mean(axis=2)
    chance = accuracy[:, None] * (1 - accuracy) + accuracy * (1 - accuracy)[:, None]
    return 1 - apart / chance


def test_models_are_as_sure_as_asked(tmp_path):
    for temperature in (1.0, 1.5):
        zoo = SyntheticZoo(1, 2000, 10, statistics=Statistics(temperature=temperature))
        path = tmp_path / f"{temperature}.zoo"
        fill(empty_store(zoo, path), zoo, range(1))
        best = ds.greedy(ds.open(path), size=1)
        assert best.temperatures["synthetic-00000"] == pytest.approx(temperature, rel=0.15)


@pytest.mark.parametrize("wrong", [{"accuracy": 1.0}, {"shared": 0.7, "family": 0.4}, {"families": 0}])
def test_statistics_that_cannot_be(wrong):
    with pytest.raises(ArgumentError, match=next(iter(wrong))):
        Statistics(**wrong)


def test_exponents_are_those_of_a_power_law():
    sizes = [(m, n, c) for m in (2, 4) for n in (10, 30) for c in (5, 50)]
    rows = [{"models": m, "examples": n, "classes": c, "s": 3e-3 * m**2 * n**0.5} for m, n, c in sizes]
    assert exponents(rows, "s") == pytest.approx({"models": 2, "examples": 0.5, "classes": 0}, abs=1e-9)
    assert exponents(rows[:1], "s") == {}


def measured(sizes, seconds):
    return [{"models": m, "examples": n, "classes": c, "s": seconds(m, n, c)} for m, n, c in sizes]


def test_a_cost_model_finds_the_work_that_matters():
    sizes = [(m, n, c) for m in (2, 40) for n in (10, 300) for c in (5, 50)]
    rows = measured(sizes, lambda m, n, c: 0.5 + 1e-6 * m * m * n)
    model = CostModel.fit(rows, "s", (ONCE, ANSWERS, COUNTS, LOGITS))
    assert model.at(500, 50_000, 1000) == pytest.approx(0.5 + 1e-6 * 500**2 * 50_000, rel=1e-6)
    assert model.worst == pytest.approx(1)
    assert model.reached.tolist() == [1, 40**2 * 300, 40 * 300 * 50]
    assert model.beyond(80, 300, 10) == pytest.approx(4)


def test_the_parts_of_a_cost_are_all_of_it():
    sizes = [(m, n, c) for m in (2, 40) for n in (10, 300) for c in (5, 50)]
    rows = measured(sizes, lambda m, n, c: 0.5 + 1e-6 * m * m * n)
    model = CostModel.fit(rows, "s", (ONCE, ANSWERS, COUNTS, LOGITS))
    assert list(model.parts(500, 50_000, 10))[:2] == [COUNTS.name, ONCE.name]
    assert sum(model.parts(500, 50_000, 10).values()) == pytest.approx(model.at(500, 50_000, 10))
    assert next(iter(model.parts(2, 10, 10))) == ONCE.name
    assert model.spread == pytest.approx(0, abs=1e-6)


SIZES = [(m, n, c) for m in (2, 16, 17, 70) for n in (2, 5000) for c in (2, 31, 32, 1000)]


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_kinds_of_work_are_positive_and_never_fall(job):
    for term in {*job.seconds, *job.memory}:
        for m, n, c in SIZES:
            least = term.work(m, n, c)
            assert least >= 0
            assert term.work(m + 1, n, c) >= least
            assert term.work(m, 2 * n, c) >= least
            if term not in (ROWS, IN_BLOCK):  # with more classes, blocks are of fewer examples
                assert term.work(m, n, 40 * c) >= least


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_a_calibration_tells_all_kinds_of_work_apart(job):
    assert len({*job.calibration}) == len(job.calibration) >= len(job.seconds)
    work = np.array([[term.work(*size) for term in job.seconds] for size in job.calibration])
    assert np.linalg.matrix_rank(work / work.max(axis=0)) == len(job.seconds)
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.5, 1, len(job.seconds)) / work.max(axis=0)
    rows = [
        {"models": m, "examples": n, "classes": c, "s": seconds}
        for (m, n, c), seconds in zip(job.calibration, work @ rates, strict=True)
    ]
    model = CostModel.fit(rows, "s", job.seconds)
    for size in ((25, 2000, 10), (100, 10_000, 100), (500, 50_000, 1000)):
        truth = float(np.dot(rates, [term.work(*size) for term in job.seconds]))
        assert model.at(*size) == pytest.approx(truth, rel=0.05)


def test_what_is_calibrated_is_not_what_is_foretold():
    tried = {(m, n, c) for m in (25, 100) for n in (2000, 10_000) for c in (10, 100)}  # by predictions.py
    assert all(tried.isdisjoint(job.calibration) for job in JOBS.values())


def test_sizes_of_work_are_those_of_the_engine():
    from dissensus.ingest.streaming.job import MOST_RESIDENT
    from dissensus.kernels.views import RANKS
    from dissensus.pairs.pair_hits import MOST_ROWS
    from dissensus.pairs.pair_views import COLUMNS

    assert (costs.TOGETHER, costs.VIEWED, costs.COLUMNS_MOST) == (MOST_RESIDENT, RANKS, COLUMNS)
    assert costs.ROWS_OF_VIEWS == MOST_ROWS


def test_short_jobs_are_measured_more_than_once(tmp_path):
    taken = run(Cell("store", 2, 64, 4), tmp_path / "z", tmp_path)
    assert taken.runs >= 3
    assert taken.seconds > 0


def test_stores_that_were_measured_are_emptied_and_stay_to_the_end(tmp_path):
    """Ext4 without a journal is slow to make files where many were removed a moment ago."""
    taken = run(Cell("store", 2, 64, 4), tmp_path / "z", tmp_path)
    stores = list(tmp_path.glob("*/own.zoo"))
    assert len(stores) == taken.runs + 1
    assert all(len(list(store.glob("models/*/commit.json"))) == 2 for store in stores)
    assert held(tmp_path) == 0
    (tmp_path / "beside").symlink_to(__file__)
    empty(tmp_path)
    assert Path(__file__).stat().st_size > 0


def test_the_room_of_a_store_is_what_is_free_and_what_it_has(tmp_path):
    stores = tmp_path / "stores"
    for name, size in (("own", 100), ("other", 30)):
        (stores / name).mkdir(parents=True)
        (stores / name / "file").write_bytes(bytes(size))
    assert room(tmp_path, stores, stores / "own", 1000) == 970
    assert room(tmp_path, stores, stores / "new", 1000) == 870
    assert room(tmp_path, stores, tmp_path / "elsewhere", 20) == 0
    free = shutil.disk_usage(tmp_path).free
    assert room(tmp_path / "not" / "there", stores, stores / "own", float("inf")) == pytest.approx(
        free, rel=0.05
    )


def test_a_measurement_ends_with_who_asked_for_it(tmp_path):
    asked = {**vars(Cell("store", 4000, 64, 4)), "path": "z", "own": str(tmp_path), "asker": -1}
    command = [sys.executable, "-m", "dissensus.bench.cell"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""


def test_a_cost_model_of_one_measurement_errs_upwards():
    rows = measured([(4, 100, 10)], lambda m, n, c: 2.0)
    model = CostModel.fit(rows, "s", (ONCE, ANSWERS, COUNTS))
    assert model.at(8, 100, 10) == pytest.approx(8.0)
    assert CostModel.fit([], "s", (ONCE,)) is None


def test_a_cost_model_is_never_below_what_was_measured():
    rows = measured([(2, 10, 2), (4, 10, 2), (8, 10, 2)], lambda m, n, c: 1.0 + (m == 4))
    model = CostModel.fit(rows, "s", (ONCE, ANSWERS))
    assert all(model.at_most(r["models"], 10, 2) >= r["s"] * (1 - 1e-12) for r in rows)


def test_the_bytes_of_a_store_are_known_beforehand(tmp_path):
    for n_classes in (4, 40):
        zoo = SyntheticZoo(3, 3000, n_classes)
        path = tmp_path / f"{n_classes}.zoo"
        fill(empty_store(zoo, path), zoo, range(3))
        there = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        assert there <= store_bytes(3, 3000, n_classes) <= 1.25 * there


def test_budgets():
    assert Budget.of("30min") == Budget(seconds=1800)
    assert Budget.of("1.5 h, 20GiB") == Budget(5400, 20 * 2**30)
    for text in ("30", "20 GB", "1min,2h", "fast", ""):
        with pytest.raises(ArgumentError, match="budget"):
            Budget.of(text)


def test_a_sweep_measures_keeps_and_goes_on(tmp_path):
    sizes = {"examples": [64], "classes": [4], "jobs": ["pairs"]}
    first = sweep(tmp_path / "s", models=[2], **sizes).run()
    both = sweep(tmp_path / "s", models=[2, 3], **sizes)
    assert [cell.models for cell in both.left()] == [3]
    assert both.plan().column_names == [
        "job",
        "models",
        "examples",
        "classes",
        "disk_bytes",
        "filling_seconds",
        "seconds",
        "fits",
    ]
    table = both.run()
    assert table.slice(0, 1).equals(first)
    assert table["status"].to_pylist() == ["done", "done"]
    assert min(table["seconds"].to_pylist()) > 0
    assert both.growth()["models"].null_count == 0
    assert list((tmp_path / "s").iterdir()) == [both.results]


def test_what_does_not_fit_is_skipped_with_the_reason(tmp_path):
    sizes = {"models": [2], "examples": [64], "classes": [4], "jobs": ["pairs", "store"]}
    table = sweep(tmp_path, **sizes, budget=Budget(seconds=0)).run()
    assert table["status"].to_pylist() == ["skipped", "skipped"]
    assert "0 s of the budget" in table["reason"][0].as_py()
    table = sweep(tmp_path, **sizes, budget=Budget(disk_bytes=10)).run()
    assert "10 bytes are allowed or free" in table["reason"][0].as_py()


@pytest.mark.parametrize("job", [name for name in JOBS if name != "pair-ensembles"])
def test_every_job_runs(job, tmp_path):
    zoo = SyntheticZoo(3, 64, 4)
    if not JOBS[job].makes_store:
        fill(empty_store(zoo, tmp_path / "z"), zoo, range(3))
    JOBS[job].run(zoo, tmp_path / "z")
    assert ds.open(tmp_path / "z").model_ids == zoo.model_ids


def test_an_ingested_synthetic_model_is_the_stored_one(tmp_path):
    zoo = SyntheticZoo(2, 64, 4)
    for job in ("store", "ingest"):
        JOBS[job].run(zoo, tmp_path / job)
    stored, ingested = (ds.open(tmp_path / job) for job in ("store", "ingest"))
    assert np.array_equal(stored.logits("synthetic-00001")[:], ingested.logits("synthetic-00001")[:])


def test_bad_input(tmp_path):
    with pytest.raises(UnknownName, match="did you mean pairs"):
        sweep(tmp_path, models=[2], examples=[9], classes=[2], jobs=["pair"])
    with pytest.raises(ArgumentError, match="models must be"):
        sweep(tmp_path, models=[1], examples=[9], classes=[2])
    for option, value, told in (
        ("--models", "two", "not a list of whole numbers"),
        ("--models", str(10**20), "is more than 1,000,000,000"),
        ("--seed", "-1", "-1 is not in the range"),
    ):
        run = CliRunner().invoke(cli, ["bench", "sweep", option, value])
        assert run.exit_code == 2
        assert told in run.output
    (tmp_path / "sweep.parquet").write_bytes(b"no")
    with pytest.raises(ArgumentError, match="move it away"):
        sweep(tmp_path, models=[2], examples=[9], classes=[2]).run()


def test_the_command_plans_without_doing(tmp_path):
    asked = ["bench", "sweep", "--models", "2,4", "--examples", "64", "--classes", "4", "--plan"]
    run = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path / "s")])
    assert run.exit_code == 0
    assert "10 of 10 measurements left" in run.output
    assert not (tmp_path / "s").exists()


def test_a_folder_of_the_users_stays_and_both_tables_are_written(tmp_path):
    own, out = tmp_path / "stores" / "own.zoo", tmp_path / "told.txt"
    own.mkdir(parents=True)
    asked = ["bench", "sweep", "--models", "2", "--examples", "64", "--classes", "3", "--jobs", "pairs"]
    run = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert own.is_dir()
    assert "Results" in out.read_text()
    assert "Exponents of growth" in out.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stores", "sweep.parquet", "told.txt"]
    again = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path), "--plan"])
    assert "Nothing is left to measure" in again.output


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    one = sweep(tmp_path, models=[2], examples=[9], classes=[2], jobs=["pairs"])
    lock = FileLock(tmp_path / ".sweep-lock", "busy")
    with pytest.raises(WriterBusy, match="another process measures into"):
        one.run()
    lock.release()
    assert not one.results.exists()


def test_plan_measures_once_and_foretells(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(JOBS, "pairs", replace(JOBS["pairs"], calibration=((3, 64, 2),)))
    first = CliRunner().invoke(cli, ["plan", "6,64,2", "pairs", "--format", "json"])
    assert first.exit_code == 0, first.output
    assert "Measuring pairs at a few small sizes" in first.stderr
    again = CliRunner().invoke(cli, ["plan", "6,64,2", "pairs", "--format", "json"])
    assert "Measuring" not in again.stderr
    found = json.loads(again.stdout)
    assert found == json.loads(first.stdout)
    assert found["store_bytes"] == store_bytes(6, 64, 2)
    assert found["beyond"] == 4  # models^2
    assert found["seconds_low"] < found["seconds"] < found["seconds_high"]
    assert sum(found["parts"].values()) == pytest.approx(found["seconds"])
    assert found["seconds"] > 0
    shown = CliRunner().invoke(cli, ["plan", "6,64,2", "pairs"]).stdout
    assert re.search(r"models x examples x classes +6 x 64 x 2\n", shown)
    assert re.search(r"\n  of it \w.* +\d+%\n", shown)
    assert re.search(r"\nbetween +\S+ \w+ and \S+ \w+\n", shown)
    assert shown.endswith(" 4.00\n")
    for size in ("500,50000", "a,b,c", "1e3,100,10", "100,10000,-10"):
        run = CliRunner().invoke(cli, ["plan", size, "pairs"])
        assert run.exit_code == 2
        assert "give models, examples and classes" in run.output


@pytest.mark.parametrize("size", ["\u00b2,5,5", "3,5,-1", "1,5,5", f"{10**10},5,5"])
def test_sizes_that_cannot_be_planned(size, monkeypatch):
    monkeypatch.setattr("dissensus.bench.planner.calibrate", lambda *_, **__: pytest.fail("measured"))
    run = CliRunner().invoke(cli, ["plan", size, "pairs"])
    assert run.exit_code == 2
    assert isinstance(run.exception, SystemExit | ds.DissensusError)


def test_a_store_without_models_is_not_planned(tmp_path):
    path = tmp_path / "z"
    empty_store(SyntheticZoo(2, 64, 2), path)
    run = CliRunner().invoke(cli, ["plan", str(path), "pairs"])
    assert "has no models yet" in str(run.exception)


def test_a_plan_says_what_the_memory_here_cannot_hold(tmp_path, monkeypatch):
    rows = [a_row("pairs", (m, 64, 2), 1e-9 * m**2) for m in (2, 4, 8)]
    monkeypatch.setattr("dissensus.bench.planner.calibrate", lambda *_, **__: rows)
    monkeypatch.setattr("dissensus.run.memory.available_bytes", lambda: 10**8)
    run = CliRunner().invoke(cli, ["plan", "2,64,2", "pairs", "--format", "csv"])
    assert run.exit_code == 0, run.output
    assert "of memory are more than the 100.0 MB that are free here" in run.stderr


def a_row(job, size, seconds, **other):
    """A measurement as a sweep keeps it."""
    row = row_of(Cell(job, *size), DONE, taken=Taken(seconds, 2 * 10**8, 10**8, 0, 0))
    return row | other


def test_rows_of_another_machine_or_version_do_not_mix(tmp_path):
    one = sweep(tmp_path, models=[2], examples=[64], classes=[4], jobs=["pairs"])
    other = a_row("pairs", (2, 64, 4), 99.0, machine="another")
    older = a_row("pairs", (2, 64, 4), 98.0, versions="{}")
    write_rows(one.results, [other, older])
    assert one.rows() == []
    assert len(one.left()) == 1
    assert one.run()["seconds"][0].as_py() < 90
    assert [row["seconds"] for row in read_rows(one.results)][:2] == [99.0, 98.0]
    assert one.left() == []


def test_filling_a_store_is_within_the_budget(tmp_path):
    with pytest.raises(TimeoutError, match="0 of its models in the store"):
        zoo = SyntheticZoo(2, 64, 4)
        fill(empty_store(zoo, tmp_path / "z"), zoo, range(2), end=0.0)
    sizes = {"models": [40], "examples": [640], "classes": [40], "jobs": ["pairs"]}
    known = [a_row("store", (m, 640, 40), float(m)) for m in (10, 20)] + [a_row("pairs", (9, 640, 40), 0.1)]
    write_rows(tmp_path / "sweep.parquet", known)
    one = sweep(tmp_path, **sizes, budget=Budget(seconds=20))
    assert one.plan()["filling_seconds"][0].as_py() == pytest.approx(40)
    reason = one.run()["reason"][0].as_py()
    assert "about 40 s to fill its store" in reason


def test_one_measurement_does_not_forget_the_calibrations(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rates = {"pairs": 1e-8}
    known = [a_row("pairs", s, rates["pairs"] * s[0] ** 2 * s[1]) for s in JOBS["pairs"].calibration]
    folder = calibration_folder("pairs")
    folder.mkdir(parents=True)
    write_rows(folder / "sweep.parquet", known)
    sizes = {"examples": [1000], "classes": [4], "jobs": ["pairs"]}
    before = sweep(tmp_path, models=[5000], **sizes).plan()["seconds"][0].as_py()
    write_rows(tmp_path / "sweep.parquet", [a_row("pairs", (20, 1000, 4), 0.5)])
    after = sweep(tmp_path, models=[5000], **sizes).plan()["seconds"][0].as_py()
    assert before == pytest.approx(250)
    assert after == pytest.approx(before, rel=0.5)


def test_each_part_of_the_memory_of_pair_ensembles_is_large_somewhere():
    """Else a fit leaves it out, and tells too little where it is most of all."""
    assert max(m for m, _, _ in JOBS["pair-ensembles"].calibration) ** 2 * 54 > 10 * 2**20


def test_caution_grows_with_growth():
    rows = [{"models": m, "examples": 10, "classes": 2, "s": 100.0 + m, "b": 100.0} for m in (10, 20, 40)]
    model = CostModel.fit(rows, "s", (ONCE, ANSWERS), "b")
    assert model.at(80, 10, 2) == pytest.approx(180)
    assert model.at_most(80, 10, 2) == pytest.approx(1.06 * (100 + 1.04 * 80))


def swept(folder):
    """A sweep whose times are known: two sizes of models, three of examples."""
    sizes = [(m, n, 10) for m in (50, 100) for n in (1000, 2000, 8000)]
    folder.mkdir()
    rows = [a_row("pairs", s, 1e-6 * s[0] * s[1]) for s in sizes]
    write_rows(folder / "sweep.parquet", [*rows, a_row("greedy", sizes[0], 1.0)])
    return folder


def test_pictures_of_a_sweep(tmp_path):
    folder, out = swept(tmp_path / "s"), tmp_path / "new" / "pictures"
    asked = ["bench", "plot", str(folder), "--out", str(out)]
    run = CliRunner().invoke(cli, asked)
    assert run.exit_code == 0, run.output
    assert sorted(p.name for p in out.iterdir()) == ["scaling-pairs.png", "scaling-pairs.svg"]
    drawn = (out / "scaling-pairs.svg").read_text()
    for text in ("time ~ models^1.00", "1,000 examples x 10 classes", "peak memory (MiB)", "100 models"):
        assert text in drawn
    again = CliRunner().invoke(cli, asked)
    assert "exists already" in str(again.exception)
    assert CliRunner().invoke(cli, [*asked, "--force"]).exit_code == 0
    assert (out / "scaling-pairs.svg").read_text() == drawn


def test_what_cannot_be_drawn(tmp_path):
    for place in (tmp_path, tmp_path / "absent.parquet"):
        with pytest.raises(ArgumentError, match="holds no measurement"):
            sweep_rows(place)
    one = tmp_path / "sweep.parquet"
    write_rows(one, [a_row("pairs", (2, 9, 2), 1.0)])
    with pytest.raises(ArgumentError, match="no size varies"):
        pictures(sweep_rows(one))


def test_pictures_are_of_the_last_machine_and_of_seven_lines(tmp_path):
    rows = [a_row("pairs", (m, n, 2), 1.0 * m) for m in (2, 4) for n in range(10, 20)]
    old = a_row("pairs", (2, 10, 2), 5.0, machine="other", measured_at="2020-01-01T00:00:00Z")
    write_rows(tmp_path / "sweep.parquet", [*rows, old])
    found = sweep_rows(tmp_path)
    assert len(found) == 20
    axes = pictures(found)["pairs"].axes[0]
    assert len(axes.lines) == 7
    assert "7 of 10 lines shown" in axes.get_title(loc="left")


def test_a_roof_is_drawn_as_one():
    line, roof = Line("ours", [1, 10, 12], [1, 2, 3]), Line("roof", [1, 12], [0.5, 1], bound=True)
    figure = scaling("title", "sample", "note", [[Panel("models", "time (s)", [line, roof])]])
    ours, bound = figure.axes[0].lines
    assert ours.get_marker() != bound.get_marker() == "None"
    assert list(figure.axes[0].get_xticks()) == [1, 12]


def test_what_hardly_changes_is_drawn_flat():
    line = Line("ours", [1, 2], [101.83, 101.80])
    axes = scaling("title", "sample", "note", [[Panel("models", "peak memory (MiB)", [line])]]).axes[0]
    low, high = axes.get_ylim()
    assert low < 101.8 < 101.83 < high
    assert high / low >= 3
    assert sum(low <= tick <= high for tick in axes.get_yticks()) >= 2


def test_a_failed_measurement_is_exit_status_1(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("it broke")

    monkeypatch.setattr(sys.modules["dissensus.bench.sweep"], "measure", fails)
    asked = ["bench", "sweep", "--models", "2", "--examples", "64", "--classes", "3", "--jobs", "pairs"]
    run = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path)])
    assert run.exit_code == 1
    assert "failed: pairs at 2 x 64 x 3: it broke" in run.output
    assert "Exponents" not in run.output


def test_memory_that_does_not_grow_is_foretold():
    rows = [{"models": m, "examples": 10, "classes": 2, "s": 99.0 + (m == 9), "b": 100.0} for m in (3, 6, 9)]
    model = CostModel.fit(rows, "s", (ANSWERS,), "b")
    assert 100 <= model.at_most(80, 10, 2) <= 107


def test_a_plan_knows_what_is_there_and_when_the_budget_is_over(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    known = [a_row("store", (m, 640, 40), float(m)) for m in (10, 20)]
    known += [a_row("pairs", (9, 640, 40), 6.0)]
    write_rows(tmp_path / "sweep.parquet", known)
    sizes = {"models": [2, 3], "examples": [640], "classes": [40], "jobs": ["pairs", "greedy"]}
    one = sweep(tmp_path, **sizes, budget=Budget(seconds=3))
    told = one.plan().to_pylist()
    assert [row["fits"] for row in told] == [True, False, True, False]  # 2.3 s, then 1.7 s; greedy is unknown
    fill(empty_store(one.cells[0].zoo, one.store_of(one.cells[0])), one.cells[0].zoo, range(2))
    assert one.plan()["filling_seconds"][0].as_py() == 0


def test_the_plan_of_a_sweep_is_for_people(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_rows(tmp_path / "sweep.parquet", [a_row("store", (m, 640, 40), float(m)) for m in (10, 20)])
    asked = ["bench", "sweep", "--models", "40", "--examples", "640", "--classes", "40", "--jobs", "pairs"]
    run = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path), "--budget", "1h", "--plan"])
    assert run.exit_code == 0, run.output
    assert "takes about 40 s and a few seconds a process; unknown for pairs: try dissensus plan" in run.output
    assert run.output.splitlines()[-1].split()[-5:] == ["MB", "40", "s", "unknown", "yes"]
    short = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path), "--budget", "0min", "--plan"])
    assert "\nNothing is within the budget\n" in short.output
    raw = CliRunner().invoke(cli, [*asked, "--folder", str(tmp_path), "--plan", "--format", "csv"])
    assert raw.output.splitlines()[0].endswith("disk_bytes,filling_seconds,seconds,fits")


def test_memory_and_traffic_that_the_system_does_not_tell(tmp_path, monkeypatch):
    monkeypatch.setattr("dissensus.bench.cell._of_proc", lambda file, name: None)
    taken = run(Cell("store", 2, 64, 4), tmp_path / "z", tmp_path)
    assert taken.peak_memory_bytes >= taken.base_memory_bytes > 2**20
    assert (taken.read_bytes, taken.write_bytes) == (None, None)


def test_without_a_cache_folder_nothing_is_calibrated(tmp_path, monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    done = CliRunner().invoke(cli, ["plan", "6,64,2", "pairs"])
    assert done.exit_code == 1
    assert "XDG_CACHE_HOME" in str(done.exception or done.output)
    sizes = {"models": [2], "examples": [64], "classes": [2]}
    assert sweep(tmp_path, **sizes, jobs=["pairs"]).plan()["seconds"].to_pylist() == [None]


def test_calibrating_again_replaces_and_a_failure_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(JOBS, "pairs", replace(JOBS["pairs"], calibration=((3, 64, 2), (4, 64, 2))))
    times = iter([1.0, 2.0, 3.0])

    def measure(cell, path, folder, limit_s):
        return Taken(next(times), 2 * 10**8, 10**8, 0, 0)

    monkeypatch.setattr(sys.modules["dissensus.bench.sweep"], "measure", measure)
    other = a_row("pairs", (3, 64, 2), 99.0, versions="{}")
    calibration_folder("pairs").mkdir(parents=True)
    write_rows(calibration_folder("pairs") / "sweep.parquet", [other])
    assert [row["seconds"] for row in calibrate("pairs")] == [1, 2]
    with pytest.raises(StopIteration):  # what was measured stays until it is measured anew
        calibrate("pairs", again=True)
    assert [row["seconds"] for row in calibrate("pairs")] == [3, 2]
    assert other in read_rows(calibration_folder("pairs") / "sweep.parquet")
    monkeypatch.setitem(JOBS, "pairs", replace(JOBS["pairs"], calibration=((3, 64, 2), (5, 64, 2))))

    def fails(*_):
        raise RuntimeError("no space")

    monkeypatch.setattr(sys.modules["dissensus.bench.sweep"], "measure", fails)
    with pytest.raises(MeasuringFailed, match="1 of 2 calibrations of 'pairs' failed: no space"):
        calibrate("pairs")
