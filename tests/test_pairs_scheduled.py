"""Past one machine: whatever the chunking, workers, order and deaths, results are those of this process."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dissensus as ds
import dissensus.run.scheduler as scheduler_module
from dissensus.errors import ArgumentError, ClusterError, CorruptionError, MissingDependency, ModelReplaced
from dissensus.pairs import MEASURES, matrix_chunks, parts, score_tasks, summed, sums, tile_tasks, tile_worker
from dissensus.pairs.counts import PairCounts
from dissensus.pairs.labels import LABEL_STATISTICS, label_counts
from dissensus.pairs.scheduled import scheduled_counts
from dissensus.pairs.score_tasks import run_scores
from dissensus.pairs.tasks import tasks
from dissensus.pairs.tile_worker import run_tiles
from dissensus.pairs.worker import run_task
from dissensus.store import format as fmt

EXACT = [name for name, measure in MEASURES.items() if measure.needs != "probabilities"]
NOISE = pytest.mark.filterwarnings(
    "ignore:::distributed", "ignore::ResourceWarning", "ignore::DeprecationWarning"
)


class Shuffled:
    """Runs pickled tasks in this process, in an order of its own."""

    def __init__(self, order, threads):
        self.order, self.threads, self.sizes = order, threads, []

    def results(self, function, submitted):
        sent = [pickle.dumps((function, task)) for task in submitted]
        self.order.shuffle(sent)
        self.sizes += [len(one) for one in sent]
        for one in sent:
            function, task = pickle.loads(one)
            yield pickle.loads(pickle.dumps(function(task)))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """7 models x 331 examples x 6 classes, a split, and a second truth: sets of classes, some empty."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 6, 331)
    splits = np.where(rng.random(331) < 0.4, "fit", "report").tolist()
    store = ds.create(tmp_path_factory.mktemp("scheduled") / "a.zoo", labels, splits=splits)
    for i in range(7):
        guess = np.where(rng.random(331) < 0.3 + 0.1 * i, labels, rng.integers(0, 6, 331))
        store.add(f"model {i}", predictions=guess)
    sets = [sorted({*rng.integers(0, 6, rng.integers(0, 4)).tolist()}) for _ in range(331)]
    store.add_labels("real", sets)
    return ds.open(store.path)


def local(store, models, examples):
    top1 = store.top1_of(models)
    correct = store.truth.correct(top1)
    return PairCounts.from_correct(correct, examples), label_counts(top1, correct, store.n_classes, examples)


def require_equal(found, expected):
    (counts, more), (counts_local, more_local) = found, expected
    assert counts.n == counts_local.n
    np.testing.assert_array_equal(counts.both_right, counts_local.both_right)
    np.testing.assert_array_equal(counts.right, counts_local.right)
    assert more.keys() == more_local.keys()
    for name, values in more_local.items():
        assert more[name].dtype == values.dtype
        np.testing.assert_array_equal(more[name], values, err_msg=name)


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_counts_are_the_local_ones_whatever_the_tasks(zoo, data):
    store = zoo.under(data.draw(st.sampled_from([None, "real"])))
    chosen = data.draw(st.permutations(zoo.model_ids))[: data.draw(st.integers(2, 7))]
    models = [store.model(model_id) for model_id in chosen]
    mask = data.draw(
        st.none() | st.integers(0, 2**32).map(lambda s: np.random.default_rng(s).random(331) < 0.3)
    )
    examples = np.ones(331, bool) if mask is None else mask.copy()
    examples &= store.truth.counted
    examples = None if examples.all() else examples
    runner = Shuffled(data.draw(st.randoms()), data.draw(st.integers(1, 64)))
    cuts = {"tile": data.draw(st.integers(2, 8)), "rows": data.draw(st.integers(60, 400))}
    found = scheduled_counts(store, models, examples, LABEL_STATISTICS, runner, **cuts)
    require_equal(found, local(store, models, examples))


def test_a_task_says_names_and_ranges_only(tmp_path):
    """40 models x 20,000 examples: 1.6 MB of predictions stay where they are."""
    rng = np.random.default_rng(0)
    store = ds.create(tmp_path / "wide.zoo", rng.integers(0, 10, 20_000))
    for i in range(40):
        store.add(f"m{i:02d}", predictions=rng.integers(0, 10, 20_000))
    models = [store.model(m) for m in store.model_ids]
    mask = rng.random(20_000) < 0.5
    runner = Shuffled(random.Random(0), 8)
    found = scheduled_counts(store, models, mask, LABEL_STATISTICS, runner, tile=20, rows=5_000)
    require_equal(found, local(store, models, mask))
    assert len(runner.sizes) == 3 * 4
    assert max(runner.sizes) < 5_000 // 8 + 1_500  # the block's mask, ids and digests
    for task in tasks(store, models, mask, LABEL_STATISTICS, 8, 20, 5_000):
        found = run_task(task)[1]
        assert all(a.dtype == np.uint16 and a.size <= 20 * 20 for a in found.values())
        break


def test_another_store_or_version_is_refused(zoo, tmp_path):
    models = [zoo.model(m) for m in zoo.model_ids]
    task = next(iter(tasks(zoo, models, None, (), 1)))
    with pytest.raises(ClusterError, match=r"cannot open the store: .*gone\.zoo.*every|see it as"):
        run_task(changed(task, path=str(tmp_path / "gone.zoo")))
    with pytest.raises(ClusterError, match="install the same on both"):
        run_task(changed(task, version="0.0.1"))
    with pytest.raises(ClusterError, match="another store at .* of other examples or labels"):
        run_task(changed(task, truth="0" * 64))
    store = ds.create(tmp_path / "b.zoo", [0, 1, 1])
    store.add("a", predictions=[0, 1, 1])
    store.add("b", predictions=[0, 0, 1])
    task = next(iter(tasks(store, [store.model("a"), store.model("b")], None, (), 1)))
    run_task(task)
    store.remove("b")
    store.add("b", predictions=[1, 0, 1])
    with pytest.raises(ModelReplaced, match="replaced since the question was asked"):
        run_task(task)


def changed(task, **fields):
    from dataclasses import replace

    return replace(task, site=replace(task.site, **fields))


def test_bad_schedulers_are_refused_in_one_line(zoo, monkeypatch):
    for bad in ("threads", "processes", 3, "3", ":8786", "host:name"):
        with pytest.raises(ArgumentError, match="scheduler must be a Dask client or the address"):
            ds.pairwise(zoo, "error_consistency", scheduler=bad)
    with pytest.raises(
        ArgumentError, match=r"'foo://x:1': Dask cannot speak 'foo' here \(.*'tcp://host:8786'$"
    ):
        ds.pairwise(zoo, "error_consistency", scheduler="foo://x:1")
    with pytest.raises(ArgumentError, match="encrypted and Dask's configuration names no certificates"):
        ds.pairwise(zoo, "error_consistency", scheduler="tls://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependency, match=r"pip install 'dissensus\[cluster\]'"):
        ds.pairwise(zoo, "error_consistency", scheduler="tcp://127.0.0.1:9")


@NOISE
def test_an_address_that_does_not_answer(zoo, monkeypatch):
    monkeypatch.setattr(scheduler_module, "ANSWER_S", 1.0)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 within 1 s"):
        ds.pairwise(zoo, "error_consistency", scheduler="tcp://127.0.0.1:9")


@pytest.fixture(scope="module")
def two_workers():
    """A cluster of two processes of two threads, without a dashboard."""
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}):
        with LocalCluster(
            n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, silence_logs=50
        ) as made:
            with Client(made, set_as_default=False) as client:
                yield client


@NOISE
def test_a_cluster_gives_the_local_result(zoo, two_workers):
    asked = [{}, {"split": "report"}, {"labels": "real", "models": zoo.model_ids[::-1]}]
    asked += [{"mask": np.arange(331) % 3 == 0, "ci": "bootstrap", "draws": 50}]
    for options in asked:
        names = EXACT if "ci" not in options else ["error_consistency"]
        here = ds.pairwise(zoo, names, **options)
        there = ds.pairwise(zoo, names, scheduler=two_workers, **options)
        assert there.model_ids == here.model_ids
        for name in names:
            np.testing.assert_array_equal(there[name], here[name], err_msg=name)
        assert pickle.loads(pickle.dumps(there)).null(draws=20).columns.keys() >= {"null_p"}
        if "ci" in options:
            np.testing.assert_array_equal(there.low["error_consistency"], here.low["error_consistency"])
            compared = [one.null(draws=20) for one in (here, there)]
            for name, column in compared[0].columns.items():
                np.testing.assert_array_equal(compared[1].columns[name], column, err_msg=name)


@NOISE
def test_the_command_takes_an_address(zoo, two_workers):
    command = [
        sys.executable,
        "-m",
        "dissensus_cli",
        "matrix",
        str(zoo.path),
        "-m",
        "label_kappa",
        "--format",
        "json",
    ]
    address = two_workers.scheduler.address
    here, there = (
        subprocess.run([*command, *more], capture_output=True, text=True, check=False)
        for more in ([], ["--scheduler", address])
    )
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout
    wrong = subprocess.run([*command, "--scheduler", "local"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("Error: scheduler must be a Dask client or the address")
    assert wrong.stderr.count("\n") == 1


# probabilities


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """6 models x 700 examples x 5 classes in blocks of 64 rows, so that runs are short."""
    rng, patch = np.random.default_rng(5), pytest.MonkeyPatch()
    patch.setattr(fmt, "BLOCK_BYTES", 64 * 5 * 2)
    labels = rng.integers(0, 5, 700)
    store = ds.create(tmp_path_factory.mktemp("scored") / "a.zoo", labels)
    for i in range(6):
        store.add(f"m{i}", logits=2 * np.eye(5)[labels] + rng.normal(size=(700, 5)) * (1 + i))
    patch.undo()
    assert store.block_rows == 64
    return store


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_measures_of_probabilities_are_the_local_ones_to_the_last_bit(scored, shuffled, data, monkeypatch):
    """In any order of the tasks, on any examples, mixed with counts and ensembles in any way."""
    shuffled(data.draw(st.randoms(use_true_random=False)), 512)
    monkeypatch.setattr(sums, "RUN", data.draw(st.sampled_from([64, 192, 4096])))
    names = data.draw(st.lists(st.sampled_from([*MEASURES]), min_size=1, max_size=6, unique=True))
    names.append("capa" if "capa" not in names else "kl" if "kl" not in names else "improvement")
    names = list(dict.fromkeys(names))
    seed = data.draw(st.none() | st.integers(0, 99))
    options = {"mask": None if seed is None else np.random.default_rng(seed).random(700) < 0.1}
    options["models"] = data.draw(st.permutations(scored.model_ids))[: data.draw(st.integers(2, 6))]
    if {"pair_accuracy", "improvement", "conversion_rate"} & {*names}:
        options["calibrate"] = data.draw(st.sampled_from([False, "fit"]))
    here, there = (ds.pairwise(scored, names, **options, scheduler=s) for s in (None, "x"))
    assert there.notes == here.notes
    for name in names:
        np.testing.assert_array_equal(there[name], here[name], err_msg=name)


def test_sums_do_not_depend_on_threads(scored, monkeypatch):
    """What a task sums on one thread is what this process sums on several."""
    monkeypatch.setattr(sums, "RUN", 128)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(sums, "available_threads", lambda threads=threads: threads)
        found.append(ds.pairwise(scored, ["capa", "kl", "hellinger", "logit_correlation"]))
    for name in found[0].measures:
        for other in found[1:]:
            np.testing.assert_array_equal(found[0][name], other[name])


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_threads_that_read_for_themselves_sum_what_is_read_ahead(scored, data, monkeypatch):
    """To the last bit: on any examples, in any pieces, however many examples are multiplied at a time."""
    monkeypatch.setattr(sums, "SLICE_BYTES", data.draw(st.sampled_from([1, 2000, 1 << 20])))
    n_models = data.draw(st.integers(1, 6))
    models = [scored.model(name) for name in scored.model_ids[:n_models]]
    share = data.draw(st.sampled_from([0.02, 0.5, 1]))
    rows = np.flatnonzero(np.random.default_rng(data.draw(st.integers(0, 99))).random(700) <= share)
    wanted = {*data.draw(st.permutations(summed.SCORED))[: data.draw(st.integers(1, len(summed.SCORED)))]}
    budget, found = data.draw(st.integers(1, 20_000)), []
    for blocks_each in (1, 1000):
        monkeypatch.setattr(parts, "BLOCKS_EACH", blocks_each)
        found.append(sums.score_sums(scored, models, rows, wanted, budget))
    assert found[0].keys() == found[1].keys()
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name], err_msg=name)


def test_the_number_of_classes_needs_no_scores(scored):
    found = sums.score_sums(scored, [scored.model("m0")], np.arange(700), {"n_classes"})
    assert found == {"n_classes": 5}


def test_who_reads_is_decided_by_blocks_threads_and_groups(scored, monkeypatch):
    """Eleven blocks are enough for two threads; not for three, nor where groups share them."""
    ahead, read = [], parts.read_blocks
    monkeypatch.setattr(parts, "read_blocks", lambda *given: ahead.append(1) or read(*given))
    models = [scored.model(name) for name in scored.model_ids]
    for threads, groups, expected in ((2, 1, 0), (3, 1, 1), (1, 2, 1)):
        ahead.clear()
        rows = [np.arange(group, 700, groups) for group in range(groups)]
        step = sums.piece_rows(6, 5)
        assert list(parts.parts_of(scored, models, sums.runs(scored, rows), step, threads))
        assert len(ahead) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_damaged_row_of_no_probability_at_all_is_told_as_damage(tmp_path, dtype, monkeypatch):
    """It is summed before its block is known to be damaged: the sum of its exponentials is 0."""
    monkeypatch.setattr(parts, "BLOCKS_EACH", 0)
    monkeypatch.setattr(fmt, "BLOCK_BYTES", 64 * 3 * np.dtype(dtype).itemsize)
    store = ds.create(tmp_path / "a.zoo", [0, 1, 2] * 70, dtype=dtype)
    for name in "ab":
        store.add(name, logits=np.eye(3, dtype=np.float32)[store.labels])
    path, row = store.model("b").folder / fmt.SHARD, np.full(3, -1e4, dtype).tobytes()
    whole = path.read_bytes()
    path.write_bytes(whole[: 2 * len(row)] + row + whole[3 * len(row) :])
    for name in ("hellinger", "kl", "brier_pair", "logit_correlation"):
        with pytest.raises(CorruptionError, match="model 'b': block 0 of .* fails its checksum"):
            ds.pairwise(ds.open(tmp_path / "a.zoo"), name)


@NOISE
def test_a_cluster_sums_probabilities_as_this_process(scored, two_workers):
    names = ["capa", "kl", "hellinger", "improvement", "same_wrong"]
    here, there = (ds.pairwise(scored, names, split="report", scheduler=s) for s in (None, two_workers))
    for name in names:
        np.testing.assert_array_equal(there[name], here[name], err_msg=name)
    one, other = (ds.near_duplicates(scored, 0.5, scheduler=s) for s in (None, two_workers))
    assert one == other


# reductions of all pairs


COUNTED = [name for name, measure in MEASURES.items() if measure.needs == "counts"]


@pytest.fixture
def shuffled(monkeypatch):
    """Put tasks in this process, in any order, in the place of a cluster, with sides of a given size."""

    def put(order, side):
        runner = Shuffled(order, 1)

        @contextmanager
        def cluster(scheduler):
            yield runner

        monkeypatch.setattr(scheduler_module, "cluster", cluster)
        monkeypatch.setattr(tile_tasks, "side_of", lambda sample, threads, multiple=1: side * multiple)
        return runner

    return put


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_reductions_are_the_local_ones_whatever_the_tasks(zoo, shuffled, data):
    """Few examples make many ties; their order, undefined values and what is brought up to date hold."""
    shuffled(data.draw(st.randoms(use_true_random=False)), data.draw(st.integers(1, 8)))
    chosen = data.draw(st.permutations(zoo.model_ids))[: data.draw(st.integers(2, 7))]
    rows = data.draw(st.sampled_from([1, 3, 9, 331]))
    options = {
        "by": data.draw(st.sampled_from(COUNTED)),
        "mask": np.arange(331) < rows,
        "models": chosen,
        "labels": data.draw(st.sampled_from([None, "real"])) if rows > 3 else None,
        "undefined": data.draw(st.sampled_from(["nan", "identical"])),
    }
    k = data.draw(st.integers(1, 7))
    here = ds.partners(zoo, k=k, **options)
    assert ds.partners(zoo, k=k, **options, scheduler="x").equals(here, check_metadata=True)
    some = sorted(chosen[: data.draw(st.integers(2, 7))], key=chosen.index)
    before = ds.partners(zoo, k=k, **options | {"models": some})
    updated = ds.partners(zoo, k=k, **options, previous=before, scheduler="x")
    assert updated.equals(here, check_metadata=True)
    edges = [-2.0, -0.5, 0.0, 0.1, 0.5, 1.0]
    one, other = (ds.histogram(zoo, bins=edges, **options, scheduler=s) for s in (None, "x"))
    np.testing.assert_array_equal(one.counts, other.counts)
    assert (one.below, one.above, one.undefined) == (other.below, other.above, other.undefined)


@pytest.mark.parametrize("by", ["error_consistency", "relative_nfr"])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_chunks_written_by_workers_are_the_local_ones(zoo, shuffled, tmp_path, monkeypatch, by, side):
    monkeypatch.setattr(matrix_chunks, "SIDE", 2)
    runner = shuffled(random.Random(side), side)
    ds.save_matrix(zoo, by, tmp_path / "here.zarr", split="report")
    ds.save_matrix(zoo, by, tmp_path / "there.zarr", split="report", scheduler="x")
    files = [p.relative_to(tmp_path / "here.zarr") for p in (tmp_path / "here.zarr").rglob("*")]
    assert len(files) > 20
    assert sorted(files) == sorted(
        p.relative_to(tmp_path / "there.zarr") for p in (tmp_path / "there.zarr").rglob("*")
    )
    for path in (tmp_path / "here.zarr").rglob("*"):
        if path.is_file():
            assert (
                path.read_bytes()
                == (tmp_path / "there.zarr" / path.relative_to(tmp_path / "here.zarr")).read_bytes()
            )
    sides = -(-7 // (2 * side))
    assert len(runner.sizes) == sides * (sides + 1) // 2


def test_what_workers_do_not_see_is_refused(zoo, shuffled, tmp_path, monkeypatch):
    runner = shuffled(random.Random(0), 1)
    real = runner.results
    with monkeypatch.context() as patch:
        patch.setattr(runner, "results", lambda function, given: real(function, [*given][:1]))
        with pytest.raises(ClusterError, match=r"wrote chunks that are not in .*m\.zarr.*, 3 in all"):
            patch.setattr(matrix_chunks, "SIDE", 4)
            ds.save_matrix(zoo, "phi", tmp_path / "m.zarr", scheduler="x")
    with monkeypatch.context() as patch:
        patch.setattr(matrix_chunks.SharedChunks, "seen", classmethod(lambda cls, f: seen(f + "-elsewhere")))
        with pytest.raises(ClusterError, match="does not see .*-elsewhere: put out into a folder that all"):
            ds.save_matrix(zoo, "phi", tmp_path / "m.zarr", scheduler="x")
    assert list(tmp_path.iterdir()) == []
    changed_since = lambda function, given: real(function, [replaced(task) for task in given])  # noqa: E731
    monkeypatch.setattr(runner, "results", changed_since)
    with pytest.raises(ModelReplaced, match="were replaced since the question was asked"):
        ds.partners(zoo, scheduler="x")


seen = matrix_chunks.SharedChunks.seen


def replaced(task):
    """A task about other answers than the store has."""
    from dataclasses import replace

    return replace(task, left=replace(task.left, digest="other"))


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (
            lambda s: ds.partners(s.correct(), scheduler="tcp://x:1"),
            "scheduler needs a store, .* got ndarray",
        ),
        (lambda s: ds.partners(s, threads=2, scheduler="tcp://x:1"), "pass scheduler or threads, not both"),
        (lambda s: ds.histogram(s, scheduler="threads"), "scheduler must be a Dask client or the address"),
        (
            lambda s: ds.save_matrix(s, "phi", "m.npy", scheduler="tcp://x:1"),
            r"end out in \.zarr; got m\.npy",
        ),
    ],
)
def test_reductions_refuse_in_one_line(zoo, tmp_path, monkeypatch, ask, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=told):
        ask(zoo)


def test_a_side_is_for_a_few_tasks_a_thread():
    def side(n_models, n_words, threads, multiple=1):
        class Sample:
            packed = np.broadcast_to(np.uint64(0), (n_models, n_words))

        return tile_tasks.side_of(Sample, threads, multiple)

    assert side(53, 160, 2) == 512
    for threads in (1, 2, 16, 64):
        sides = -(-61_565 // side(61_565, 160, threads))
        assert 3 * threads <= sides * (sides + 1) // 2 < 8 * threads + 16
    assert side(500_000, 784, 2) * 784 * 8 <= tile_tasks.SIDE_BYTES
    assert side(61_565, 160, 16, 1024) % 1024 == 0


@NOISE
def test_a_cluster_reduces_to_the_local_result(zoo, two_workers, tmp_path, monkeypatch):
    monkeypatch.setattr(tile_tasks, "LEAST", 2)
    here = ds.partners(zoo, k=3, split="report")
    monkeypatch.setattr("dissensus.pairs.tile_tasks.side_of", lambda *_: 2)
    assert ds.partners(zoo, k=3, split="report", scheduler=two_workers).equals(here, check_metadata=True)
    one, other = (ds.histogram(zoo, scheduler=s) for s in (None, two_workers))
    np.testing.assert_array_equal(one.counts, other.counts)
    for name, scheduler in (("here", None), ("there", two_workers)):
        monkeypatch.setattr("dissensus.pairs.tile_tasks.side_of", lambda *_: 1024)
        ds.save_matrix(zoo, "phi", tmp_path / f"{name}.zarr", scheduler=scheduler)
    chunk = "phi/c/0/0"
    assert (tmp_path / "here.zarr" / chunk).read_bytes() == (tmp_path / "there.zarr" / chunk).read_bytes()


def slow_task(task):
    """A task that lasts, so that a worker dies in the midst of it."""
    time.sleep(0.1)
    return run_task(task)


@NOISE
def test_a_killed_worker_changes_nothing(zoo, two_workers, monkeypatch):
    models = [zoo.model(m) for m in zoo.model_ids]
    monkeypatch.setattr("dissensus.pairs.scheduled.run_task", slow_task)
    runner = scheduler_module.Cluster(two_workers)
    pids = two_workers.run(os.getpid)
    killed = threading.Timer(0.4, os.kill, (min(pids.values()), signal.SIGKILL))
    killed.start()
    found = scheduled_counts(zoo, models, None, LABEL_STATISTICS, runner, tile=2, rows=30)
    assert not killed.is_alive()  # it died in mid-run
    require_equal(found, local(zoo, models, None))


def slow_tiles(task):
    time.sleep(0.1)
    return run_tiles(task)


def slow_scores(task):
    time.sleep(0.1)
    return run_scores(task)


@NOISE
def test_a_killed_worker_changes_neither_partners_nor_probabilities(zoo, scored, two_workers, monkeypatch):
    partners = ds.partners(zoo, "phi", 3)
    monkeypatch.setattr(tile_worker, "run_tiles", slow_tiles)
    monkeypatch.setattr(tile_tasks, "side_of", lambda *_: 1)  # 28 tasks
    killed = kill_one(two_workers)
    assert ds.partners(zoo, "phi", 3, scheduler=two_workers).equals(partners, check_metadata=True)
    assert not killed.is_alive()
    monkeypatch.setattr(sums, "RUN", 64)  # 11 tasks
    here = ds.pairwise(scored, ["capa", "improvement"])
    monkeypatch.setattr(score_tasks, "run_scores", slow_scores)
    killed = kill_one(two_workers)
    there = ds.pairwise(scored, ["capa", "improvement"], scheduler=two_workers)
    assert not killed.is_alive()
    for name in here.measures:
        np.testing.assert_array_equal(there[name], here[name])


def kill_one(client):
    """Kill a worker a moment from now."""
    client.wait_for_workers(2, timeout=30)
    killed = threading.Timer(0.2, os.kill, (min(client.run(os.getpid).values()), signal.SIGKILL))
    killed.start()
    return killed
