"""Searches on a cluster: whatever the blocks, order and deaths, results are those of this process."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import signal
import warnings
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import dissensus as ds
import dissensus.run.scheduler as scheduler_module
from dissensus.ensemble import scheduled, worker
from dissensus.ensemble.certified import CertifiedRunning
from dissensus.ensemble.combine import COMBINE
from dissensus.ensemble.scheduled import ScheduledScores, ScheduledSelection
from dissensus.ensemble.selection import Selection
from dissensus.ensemble.weights import Weights
from dissensus.errors import ArgumentError, CalibrationWarning, ClusterError, ModelReplaced
from dissensus_cli.main import cli

NOISE = pytest.mark.filterwarnings(
    "ignore:::distributed", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)


class Shuffled:
    """Runs pickled tasks in this process, in an order of its own; now and then a worker loses all it kept."""

    def __init__(self, seed=0, workers=2, lost=0.0):
        self.workers, self.threads, self.neighbours, self.lost = workers, workers, workers, lost
        self.order, self.sent, self.back = random.Random(seed), [], []

    def results(self, function, tasks):
        some = list(tasks)
        self.order.shuffle(some)
        for task in some:
            if self.order.random() < self.lost:
                worker._HELD.clear()
            self.sent.append(pickle.dumps((function, task)))
            function, task = pickle.loads(self.sent[-1])
            self.back.append(pickle.dumps(function(task)))
            yield pickle.loads(self.back[-1])

    def at_home(self, function, tasks):
        return self.results(function, tasks.values())


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """6 models x 230 examples x 5 classes, one twice and one useless; a second truth of sets.

    In float32, for which no tables of exponentials are made.
    """
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 5, 230)
    store = ds.create(tmp_path_factory.mktemp("scheduled") / "a.zoo", labels, dtype="float32")
    logits = [np.round(np.eye(5)[labels] * 2 + rng.normal(size=(230, 5)) * s, 1) for s in (1, 1.5, 2, 3)]
    for i, z in enumerate([*logits, logits[1], np.zeros((230, 5))]):
        store.add(f"model {i}", logits=z, metadata={"gmacs": 1.0 + i})
    store.add_labels("real", [sorted({*rng.integers(0, 5, 2).tolist()}) for _ in range(230)])
    return ds.open(store.path)


@pytest.fixture
def runner(monkeypatch):
    """A runner that `ds.greedy` takes for any cluster, with small blocks."""
    made = Shuffled()
    monkeypatch.setattr(scheduler_module, "cluster", lambda scheduler: contextlib.nullcontext(made))
    monkeypatch.setattr(scheduled, "ROWS", 20)
    return made


def found(store, **options):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        record = ds.greedy(store, **options).to_dict()
    return record, sorted(str(w.message) for w in told if w.category is CalibrationWarning)


def without_work(answer):
    return answer[0] | {"work": []}, answer[1]


SEARCHES = [
    {"size": 6},
    {"size": 5, "metric": "nll", "labels": "real"},
    {"size": 4, "metric": "brier", "beam": 3},
    {"size": 4, "metric": "balanced_accuracy", "beam": 2, "patience": 2},
    {"size": 5, "combine": "logits", "labels": "real"},
    {"combine": "votes"},
    {"size": 3, "metric": "nll", "bags": 2, "bag_fraction": 0.6},
    {"size": 2, "folds": 2, "sorted_start": 1},
    {"size": 5, "metric": "nll", "weights": "optimal", "replacement": False},
    {"size": 5, "prune": True, "cost": "gmacs", "max_cost": 12.0, "include": ["model 3"]},
]


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_a_search_on_workers_gives_the_local_result(zoo, runner, options):
    """Members, numbers, intervals and warnings, with workers that lose their state now and then."""
    here = found(zoo, **options)
    runner.lost = 0.05
    there = found(zoo, scheduler="any", **options)
    assert without_work(there) == without_work(here)
    shared = [{k: row[k] for k in row if k != "resolved"} for row in here[0]["work"]]
    assert [{k: row[k] for k in row if k != "resolved"} for row in there[0]["work"]] == shared
    assert all(row["resolved"] == row["open"] for row in there[0]["work"])
    assert not worker._HELD  # forgotten in the end


@settings(deadline=None, max_examples=6)
@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(25, 120),
    combine=st.sampled_from(["probabilities", "logits", "votes"]),
    steps=st.lists(st.sampled_from(["add", "add", "drop", "copy"]), max_size=5),
    weighted=st.booleans(),
)
def test_blocks_order_and_lost_state_change_no_integer(zoo, seed, rows, combine, steps, weighted):
    """Of any ensemble, grown, shrunk and copied: hits, NLL, leaders, and who is right."""
    rng, way, models = np.random.default_rng(seed), COMBINE[combine], zoo.model_ids
    some = np.flatnonzero(rng.random(zoo.n_examples) < 0.6)
    temperatures = dict(zip(models, rng.uniform(0.5, 2, len(models)).tolist(), strict=True))
    weights = Weights.of(rng.random(len(some)), len(some)) if weighted else None
    counted = rng.integers(0, 4, len(some))
    far = ScheduledScores(way, zoo, models, some, temperatures, Shuffled(seed, lost=0.2), 1, rows)
    states = [
        Selection(way.scores(zoo, models, some, temperatures), weights, recorded=()),
        ScheduledSelection(far, weights, recorded=()),
    ]
    for step in ["none", *steps]:
        if step == "add":
            member = int(rng.integers(len(models)))
            for state in states:
                state.add(member)
        elif step == "drop" and states[0].chosen:
            place = int(rng.integers(len(states[0].chosen)))
            for state in states:
                state.drop(place)
        elif step == "copy":
            forgotten, states = states, [state.copy() for state in states]
            forgotten[1].add(0)
        candidates = rng.permutation(len(models))[: rng.integers(1, 7)]
        here, there = (looked_at(state, candidates, counted) for state in states)
        assert here == there


def looked_at(state, candidates, counted):
    running = state.running
    told = [running.hits_if_added(candidates, counted), running.leaders(candidates, counted), state.right]
    if state.has_nll:
        told += [state.nll_if_added(candidates), state.nll_leaders(candidates), np.array(state.nll_now())]
    return [*(each.tolist() for each in told), state.chosen, state.counts.tolist()]


def test_nothing_large_goes_through_the_scheduler(tmp_path, runner, monkeypatch):
    """3 models x 4,000 examples x 50 classes, 1.2 MB of logits: a message says names and a bit an example."""
    rng = np.random.default_rng(0)
    store = ds.create(tmp_path / "wide.zoo", rng.integers(0, 50, 4_000))
    for i in range(3):
        store.add(f"m{i}", logits=rng.normal(size=(4_000, 50)))
    monkeypatch.setattr(scheduled, "ROWS", 500)
    for metric in ("accuracy", "nll", "balanced_accuracy"):
        assert without_work(found(store, size=3, metric=metric, scheduler="any")) == without_work(
            found(store, size=3, metric=metric)
        )
    assert max(len(one) for one in runner.sent) < 2_000 + 1_000  # balanced: a byte an example, and 50 weights
    assert max(len(one) for one in runner.back) < 1_000


def test_workers_refuse_what_was_not_asked_about(zoo, tmp_path):
    temperatures = dict.fromkeys(zoo.model_ids, 1.0)
    rows = np.arange(50)

    def asked(store, **site):
        runner = Shuffled()
        scores = ScheduledScores(COMBINE["probabilities"], store, store.model_ids, rows, temperatures, runner)
        scores._parts = [
            replace(part, crew=replace(part.crew, site=replace(part.crew.site, **site)))
            for part in scores._parts
        ]
        return scores.ask("standing", ())

    with pytest.raises(ClusterError, match=r"cannot open the store: .*gone\.zoo"):
        asked(zoo, path=str(tmp_path / "gone.zoo"))
    with pytest.raises(ClusterError, match="install the same on both"):
        asked(zoo, version="0.0.1")
    store = ds.create(tmp_path / "b.zoo", [0, 1] * 25)
    store.add("a", logits=np.eye(2)[[0, 1] * 25])
    temperatures["a"] = 1.0
    scores = ScheduledScores(COMBINE["probabilities"], store, ["a"], rows, temperatures, Shuffled())
    store.remove("a")
    store.add("a", logits=np.eye(2)[[1, 0] * 25])
    with pytest.raises(ModelReplaced, match="replaced since the question was asked"):
        scores.ask("standing", ())


def test_a_worker_keeps_the_last_searches_only(zoo):
    worker._HELD.clear()
    temperatures = dict.fromkeys(zoo.model_ids, 1.0)
    for _ in range(worker.RUNS + 2):
        scores = ScheduledScores(
            COMBINE["votes"], zoo, zoo.model_ids, np.arange(60), temperatures, Shuffled(), 1, 20
        )
        scores.ask("standing", (0,))
    assert len(worker._HELD) == 3 * worker.RUNS
    scores.ask("forget", ())
    assert len(worker._HELD) == 3 * (worker.RUNS - 1)
    worker._HELD.clear()


def test_a_sum_that_failed_is_not_kept(zoo, monkeypatch):
    """What is asked next is answered as if nothing had been asked before."""
    worker._HELD.clear()
    temperatures = dict.fromkeys(zoo.model_ids, 1.0)
    scores = ScheduledScores(
        COMBINE["probabilities"], zoo, zoo.model_ids, np.arange(60), temperatures, Shuffled()
    )
    expected = scores.ask("hits", (0, 1), np.arange(3))
    scores.ask("forget", ())
    scores.ask("nll", (0, 1), np.arange(3))
    with monkeypatch.context() as patch:
        patch.setattr(CertifiedRunning, "add", lambda self, candidate: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            scores.ask("hits", (0, 1), np.arange(3))
    found = scores.ask("hits", (0, 1), np.arange(3))
    assert [hits.tolist() for hits, _ in found] == [hits.tolist() for hits, _ in expected]
    scores.ask("forget", ())


def test_scheduler_and_device_are_refused_in_one_line(zoo):
    with pytest.raises(ArgumentError, match="scheduler must be a Dask client or the address"):
        ds.greedy(zoo, scheduler="threads")
    with pytest.raises(ArgumentError, match="pass scheduler or device, not both"):
        ds.greedy(zoo, scheduler="tcp://127.0.0.1:9", device="cpu")
    sets, equal = zoo.under("real"), dict.fromkeys(zoo.model_ids, 1.0)
    scores = ScheduledScores(COMBINE["probabilities"], sets, zoo.model_ids, np.arange(30), equal, Shuffled())
    with pytest.raises(ArgumentError, match="^metric 'brier' needs one right class an example"):
        _ = scores.gram(Weights.equal(30))
    shown = CliRunner().invoke(cli, ["ensemble", str(zoo.path), "--scheduler", "local"])
    assert isinstance(shown.exception, ArgumentError)


@pytest.fixture(scope="module")
def two_workers():
    """A cluster of two processes, without a dashboard."""
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}):
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as made:
            with Client(made, set_as_default=False) as client:
                yield client


@NOISE
def test_a_killed_worker_changes_nothing(zoo, two_workers, monkeypatch):
    """It dies in the midst of a search; the other takes over, and the command says the same."""
    monkeypatch.setattr(scheduled, "ROWS", 40)
    here = found(zoo, size=6, metric="nll")
    client, pids = two_workers, two_workers.run(os.getpid)
    asked = ScheduledScores.ask
    seen = []

    def ask(self, what, *arguments, **options):
        seen.append(what)
        if len(seen) == 6:
            os.kill(min(pids.values()), signal.SIGKILL)
        return asked(self, what, *arguments, **options)

    monkeypatch.setattr(ScheduledScores, "ask", ask)
    assert without_work(found(zoo, size=6, metric="nll", scheduler=client)) == without_work(here)
    assert len(seen) > 6
    monkeypatch.setattr(ScheduledScores, "ask", asked)
    command = ["ensemble", str(zoo.path), "--size", "4", "--beam", "2", "--no-calibrate", "--format", "json"]
    address = client.scheduler.address
    shown = [CliRunner().invoke(cli, [*command, *more]) for more in ([], ["--scheduler", address])]
    assert shown[1].exit_code == 0, shown[1].stderr
    records = [drop_resolved(one.stdout) for one in shown]
    assert records[0] == records[1]


def drop_resolved(text):
    import json

    record = json.loads(text)
    for row in record["work"]:
        row.pop("resolved")
    return record


@NOISE
def test_blocks_stay_with_their_workers(two_workers):
    """As long as these live: what they keep is found there again."""
    runner = scheduler_module.Cluster(two_workers)
    tasks = dict.fromkeys(range(4), None)
    first, second = (dict(runner.at_home(where, {n: n for n in tasks})) for _ in range(2))
    assert first == second
    assert runner.workers >= 1
    assert runner.neighbours == runner.workers


def where(number):
    """Which process it runs in."""
    return number, os.getpid()
