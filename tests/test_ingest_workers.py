"""Worker processes: killed, hung up, unable to start, and gone when the run is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import dissensus as ds
from counted import (
    BATCH,
    Counted,
    Model,
    N,
    Scaled,
    children,
    noted,
    outcome,
    run,
    script,
    stored_bytes,
)
from dissensus import errors
from dissensus.ingest import CallableModel
from dissensus.ingest.streaming.batches import Reading, read_ahead, spans_of
from dissensus.ingest.streaming.workers import refuse_unguarded

BATCHES = range(0, N, BATCH)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process and no zombie is left by any test of this file."""
    yield
    assert children() == []


def sources(log):
    return [
        Model(seed=0).source("a", preprocess=Scaled(1.5, log)),
        Model(seed=1).source("b", preprocess=Scaled(1.5, log)),
        Model(seed=2).source("c"),
    ]


@pytest.fixture
def expected(tmp_path, log):
    rows = Counted(log)
    store = ds.create_from(tmp_path / "expected", rows)
    run(store, sources(log), rows)
    log.unlink()
    return {m: stored_bytes(store, m) for m in "abc"}


def everything(store):
    return {m: stored_bytes(store, m) for m in store.model_ids}


# what workers do


def test_workers_read_what_threads_read(tmp_path, log, expected):
    rows = Counted(log)
    for workers in (1, 3):
        store = ds.create_from(tmp_path / f"s{workers}", rows)
        assert set(outcome(run(store, sources(log), rows, workers=workers)).values()) == {"done"}
        assert everything(store) == expected
    lines = noted(log)
    assert not lines[f"by {os.getpid()}"]
    assert lines["threads 1"] == 2 * len(BATCHES)  # decoding threads of several processes would be too many
    assert rows.threads == 8


def test_batches_come_in_order_and_only_a_few_are_read_ahead(log):
    rows = Counted(log)
    with read_ahead(Reading(rows, [Scaled(1.0, log)]), spans_of(0, N, 20), 2) as batches:
        first = next(batches)
        time.sleep(1.5)
        assert len(rows.spans()) <= 1 + 3 + 2 * 2  # taken, held here, in the hands of each worker
        rest = list(batches)
    got = [first, *rest]
    assert [span for span, _ in got] == spans_of(0, N, 20)
    for span, (batch,) in got:
        assert np.array_equal(batch, rows.read(*span))


def test_a_preprocessing_that_fails_in_a_worker_fails_its_models_only(tmp_path, log, expected):
    rows = Counted(log)
    store = ds.create_from(tmp_path / "s", rows)
    bad = [Model().source(m, preprocess=Scaled(9.0, log, fail_at=500)) for m in ("bad", "worse")]
    said = outcome(run(store, [*sources(log), *bad], rows, workers=2))
    assert {m: said[m] for m in ("bad", "worse")} == dict.fromkeys(
        ("bad", "worse"), "ValueError: cannot scale by 9.0"
    )
    assert everything(store) == expected


def unsendable(images):
    return {"rows": images, "function": lambda: 1}


def test_a_batch_that_cannot_be_sent_fails_its_models_only(tmp_path, log, expected):
    rows = Counted(log)
    store = ds.create_from(tmp_path / "s", rows)
    bad = CallableModel("bad", lambda x: Model()(x["rows"]), preprocess=unsendable, fingerprint="v")
    said = outcome(run(store, [*sources(log), bad], rows, workers=2))
    assert "Can't" in said["bad"] or "pickle" in said["bad"]
    assert everything(store) == expected


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("odd", "RuntimeError: Odd: a.png is odd at 3"),
        ("gone", "FileNotFoundError: [Errno 2] No such file or directory: 'a.png'"),
        ("unreadable", "ant/b.png could not be decoded any more"),
    ],
)
def test_errors_of_reading_in_a_worker_arrive_on_one_line(tmp_path, log, what, words):
    """A file that is gone is no death of the worker that says so."""
    rows = Counted(log, acts={600: what})
    store = ds.create_from(tmp_path / "s", Counted(log))
    begun = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert set(outcome(run(store, sources(log), rows, workers=2)).values()) == {words}
    assert noted(log)["read 600"] == 1
    assert time.monotonic() - begun < 60
    assert len(store.staged()) == 3


def test_what_a_source_prints_in_a_worker_is_no_result(tmp_path, log):
    body = f"""
if __name__ == "__main__":
    rows = Counted(Path({str(log)!r}), acts={{0: "print"}})
    store = ds.create_from({str(tmp_path / "s")!r}, rows)
    print(outcome(run(store, Model().source(), rows, workers=1)))
"""
    done = subprocess.run(script(tmp_path / "job.py", body), capture_output=True, text=True, check=True)
    assert done.stdout == "{'m': 'done'}\n"
    assert "printed by a source" in done.stderr


# death


@pytest.mark.parametrize("at", [0, 600, 1200])
def test_the_run_goes_on_after_a_worker_died(tmp_path, log, expected, at):
    rows = Counted(log, acts={at: "die once"})
    store = ds.create_from(tmp_path / "s", Counted(log))
    words = rf"a decode worker died at examples {at} to {at + 99} \(killed by signal 9.*\); another goes on"
    with pytest.warns(UserWarning, match=words) as told:
        assert set(outcome(run(store, sources(log), rows, workers=2)).values()) == {"done"}
    assert len(told) == 1
    assert everything(store) == expected


def test_a_worker_killed_while_a_model_computes_harms_no_model(tmp_path, log, expected):
    """torch's DataLoader raised in the model's forward pass: it failed, and not the reading."""
    rows, calls = Counted(log), []

    def kills(x):
        calls.append(1)
        if len(calls) == 2:
            os.kill(children()[0], signal.SIGKILL)
            for _ in range(50):
                time.sleep(0.01)
        return Model()(x)

    store = ds.create_from(tmp_path / "s", rows)
    killer = CallableModel("killer", kills, fingerprint="v")
    with pytest.warns(UserWarning, match="a decode worker died at examples"):
        assert set(outcome(run(store, [killer, *sources(log)], rows, workers=2)).values()) == {"done"}
    assert {m: b for m, b in everything(store).items() if m != "killer"} == expected


def test_every_worker_may_be_killed_at_once(tmp_path, log, expected):
    rows, calls = Counted(log), []

    def kills(x):
        calls.append(1)
        if len(calls) in (2, 6):
            for pid in children():
                os.kill(pid, signal.SIGKILL)
        return Model()(x)

    store = ds.create_from(tmp_path / "s", rows)
    killer = CallableModel("killer", kills, fingerprint="v")
    with pytest.warns(UserWarning, match="a decode worker died at examples"):
        assert set(outcome(run(store, [killer, *sources(log)], rows, workers=3)).values()) == {"done"}
    assert {m: b for m, b in everything(store).items() if m != "killer"} == expected


def test_a_worker_that_dies_at_the_same_rows_again_and_again(tmp_path, log, expected):
    rows = Counted(log, acts={700: "die"})
    store = ds.create_from(tmp_path / "s", Counted(log))
    with pytest.warns(UserWarning, match="a decode worker died at examples 700 to 799") as told:
        said = outcome(run(store, sources(log), rows, workers=2))
    assert len(told) == 2
    (words,) = set(said.values())
    assert words.startswith(
        "a decode worker died at examples 700 to 799 (killed by signal 9), 3 times in a row; "
    )
    assert "workers=0 (--workers 0)" in words
    assert len(store.staged()) == 3
    sound = Counted(log)
    sound.spans()
    assert set(outcome(run(store, sources(log), sound, workers=2)).values()) == {"done"}
    assert min(sound.spans()) == 500
    assert everything(store) == expected


def test_the_reading_itself_says_which_rows_kill(log):
    reading = Reading(Counted(log, acts={300: "die"}), [Scaled(1.0, log)])
    raised = pytest.raises(errors.DecodeWorkerDied, match="examples 300 to 399 .*3 times in a row")
    with pytest.warns(UserWarning, match="examples 300 to 399"), raised:
        with read_ahead(reading, spans_of(0, N, BATCH), 2) as batches:
            list(batches)


# leaving


def test_leaving_early_ends_workers_that_are_still_busy(log):
    rows = Counted(log, acts={100: "hang", 200: "hang"})
    with read_ahead(Reading(rows, [Scaled(1.0, log)]), spans_of(0, N, BATCH), 2) as batches:
        next(batches)
        assert len(children()) == 2
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    assert children() == []
    assert multiprocessing.active_children() == []
    assert not [t for t in threading.enumerate() if t.name.startswith("dissensus-")]


def test_workers_end_while_an_exception_is_still_held(tmp_path, log):
    """A traceback holds the frames of the loop, which held its workers."""
    rows = Counted(log)
    store = ds.create_from(tmp_path / "s", rows)
    try:
        run(store, Model(KeyboardInterrupt(), 3).source(), rows, workers=2)
    except KeyboardInterrupt as error:
        held = error
        assert children() == []
    assert held.__traceback__ is not None


BUSY = """
class Slow(Model):
    def __call__(self, batch):
        note(Path({log!r}), "computed")
        act("slow", Path({log!r}))
        return super().__call__(batch)

if __name__ == "__main__":
    rows = Counted(Path({log!r}), acts={{start: {act!r} for start in range(0, N, BATCH)}})
    store = ds.open({store!r})
    run(store, [Slow(seed=0).source("a"), Slow(seed=1).source("b")], rows, workers=2)
"""


def started(tmp_path, log, store, what=""):
    body = BUSY.format(log=str(log), store=str(store.path), act=what)
    process = subprocess.Popen(
        script(tmp_path / "job.py", body), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 60
    while noted(log)["computed"] < 3 or len(children(process.pid)) < 2:
        assert time.monotonic() < until
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    return process, children(process.pid)


def gone(pids, seconds=5.0):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("what", ["", "slow"])
@pytest.mark.parametrize("times", [1, 3])
def test_ctrl_c_ends_all_within_seconds_and_can_be_resumed(tmp_path, log, what, times):
    """As from a terminal: every process of the group gets the signal; also by an impatient user."""
    store = ds.create_from(tmp_path / "s", Counted(log))
    process, workers = started(tmp_path, log, store, what)
    begun = time.monotonic()
    for _ in range(times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.05)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - begun < 8
    assert process.returncode in (-signal.SIGINT, 1)
    chained = said.count("During handling of the above") + said.count("the direct cause of the following")
    assert said.count("Traceback") - chained <= times, said  # of the run; workers do not add theirs
    assert "leaked" not in said
    assert gone(workers)
    assert store.model_ids == []
    assert len(store.staged()) <= 2
    rows = Counted(log)
    assert set(outcome(run(store, [Model(seed=i).source(m) for i, m in enumerate("ab")], rows)).values()) == {
        "done"
    }


def test_workers_of_a_killed_run_end_by_themselves(tmp_path, log):
    store = ds.create_from(tmp_path / "s", Counted(log))
    process, workers = started(tmp_path, log, store)
    process.kill()
    process.communicate()
    assert gone(workers)


# what cannot be sent or started


def test_preprocessing_that_cannot_be_sent_fails_its_models_only(tmp_path, log, expected):
    rows = Counted(log)
    store = ds.create_from(tmp_path / "s", rows)
    local = Model().source("local", preprocess=lambda images: images)
    said = outcome(run(store, [local, *sources(log)], rows, workers=2))
    assert said["local"].startswith(
        "workers=2 decode in processes of their own, to which the model's preprocessing cannot be sent ("
    )
    assert said["local"].endswith("); define the function in a module, or pass workers=0 (threads)")
    assert everything(store) == expected
    assert outcome(run(store, local, rows)) == {"local": "done"}


def test_data_that_cannot_be_sent_is_refused(tmp_path, log):
    rows = Counted(log)
    store = ds.create_from(tmp_path / "s", rows)
    rows.lock = threading.Lock()
    (words,) = set(outcome(run(store, sources(log), rows, workers=2)).values())
    assert "to which the data cannot be sent (TypeError: cannot pickle '_thread.lock' object)" in words
    assert children() == []


def test_a_script_without_a_guard_says_so_and_ends(tmp_path, log):
    store = ds.create_from(tmp_path / "s", Counted(log))
    body = f"""
note(Path({str(log)!r}), "imported")
rows = Counted(Path({str(log)!r}))
print(outcome(run(ds.open({str(store.path)!r}), Model().source(), rows, workers=2)))
"""
    command = script(tmp_path / "job.py", body)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "3 times in a row" in done.stdout
    assert 'a file, with `if __name__ == "__main__":`' in done.stdout
    assert "must not start the run again" in done.stderr
    assert noted(log)["imported"] <= 1 + 2 + 2  # the script, its workers, and those that took their place


def test_a_run_from_standard_input_says_that_workers_need_a_file(tmp_path, log):
    store = ds.create_from(tmp_path / "s", Counted(log))
    command = script(tmp_path / "job.py", "")
    body = (tmp_path / "job.py").read_text() + (
        'if __name__ == "__main__":\n'
        f"    rows = Counted(Path({str(log)!r}))\n"
        f"    print(outcome(run(ds.open({str(store.path)!r}), Model().source(), rows, workers=2)))\n"
    )
    done = subprocess.run(
        [command[0], "-"], input=body, capture_output=True, text=True, timeout=120, check=True
    )
    assert "3 times in a row" in done.stdout, done.stdout
    assert "Workers import the script that starts them: a file" in done.stdout


def test_a_function_that_workers_do_not_find_is_named(tmp_path, log):
    """As in a notebook: it can be pickled here, and is nowhere there."""
    store = ds.create_from(tmp_path / "s", Counted(log))
    command = script(tmp_path / "job.py", "")
    body = (tmp_path / "job.py").read_text() + (
        "def twice(images):\n    return images * 2\n"
        f"rows = Counted(Path({str(log)!r}))\n"
        "model = Model().source(preprocess=twice)\n"
        f"print(outcome(run(ds.open({str(store.path)!r}), model, rows, workers=1)))\n"
    )
    done = subprocess.run([command[0], "-c", body], capture_output=True, text=True, timeout=120, check=True)
    assert "the data or a preprocessing cannot be had in a worker process" in done.stdout
    assert "Can't get attribute 'twice'" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_refusal_is_for_workers_that_import_only(monkeypatch):
    refuse_unguarded()
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(errors.ArgumentError, match="import this script, which must not start the run again"):
        refuse_unguarded()


# the command


@pytest.mark.slow
def test_nothing_is_leaked_by_a_whole_run(tmp_path, log):
    """The resource tracker tells at the end of what is left; -W error makes every warning fatal."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    body = f"""
import json, threading
if __name__ == "__main__":
    rows = Counted(Path({str(log)!r}))
    store = ds.create_from({str(tmp_path / "s")!r}, rows)
    report = run(store, [Model(seed=i).source(f"m{{i}}") for i in range(3)], rows, workers=2, resident=1)
    assert not report.failed, report
    print(json.dumps([children(), len(os.listdir("/proc/self/fd"))]))
    run(store, [Model(seed=i).source(f"n{{i}}") for i in range(3)], rows, workers=2, resident=1)
    print(json.dumps([children(), len(os.listdir("/proc/self/fd"))]))
"""
    command = script(tmp_path / "job.py", body)
    done = subprocess.run(
        [command[0], "-W", "error", *command[1:]],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    assert done.stderr == ""
    assert list(temporary.iterdir()) == []  # sockets by which tensors come
    (left, fds), (left_then, fds_then) = map(json.loads, done.stdout.splitlines())
    assert left == left_then == []
    assert fds == fds_then
