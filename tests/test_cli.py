"""The command line through its real entry point: every query in every format, clear errors, exit status."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import dissensus as ds

DISSENSUS = Path(sys.executable).parent / "dissensus"


def run(*args, status=0):
    done = subprocess.run([DISSENSUS, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Store of 6 models x 300 examples x 4 classes; one perfect model makes kappa undefined once."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 300)
    splits = np.where(np.arange(300) < 150, "fit", "report").tolist()
    store = ds.create(tmp_path_factory.mktemp("cli") / "cli.zoo", labels, classes=list("abcd"), splits=splits)
    for i in range(5):
        z = 2 * np.eye(4)[labels] + rng.normal(size=(300, 4)) * (1 + i / 4)
        store.add(f"m{i}", logits=z, metadata={"category": "even" if i % 2 == 0 else "odd"})
    store.add("truth", predictions=labels)
    return store


def test_info(zoo):
    record = json.loads(run("info", zoo.path, "--format", "json").stdout)
    assert record["models"] == 6
    assert record["splits"] == {"fit": 150, "report": 150}
    assert record["kinds"] == {"labels": 1, "logits": 5}
    assert "300" in run("info", zoo.path).stdout


def test_models_records(zoo):
    records = json.loads(run("models", zoo.path, "--format", "json").stdout)
    assert records[0]["model"] == "truth"
    assert records[0]["accuracy"] == 1.0
    assert "category" not in records[0]  # only where recorded
    assert {r["category"] for r in records[1:]} == {"even", "odd"}
    on_split = json.loads(run("models", zoo.path, "--split", "report", "--format", "json").stdout)
    expected = float((zoo.top1(["m3"])[0] == zoo.labels)[150:].mean())
    assert next(r for r in on_split if r["model"] == "m3")["accuracy"] == expected


def test_pairs_records_equal_the_library(zoo):
    records = json.loads(run("pairs", zoo.path, "--top", 3, "--format", "json").stdout)
    assert list(records[0]) == [
        "model_a", "model_b", "accuracy_a", "accuracy_b", "error_inconsistency", "error_consistency",
    ]  # fmt: skip
    expected = ds.pairwise(zoo, ["error_inconsistency", "error_consistency"]).top(3)
    assert [r["error_inconsistency"] for r in records] == expected["error_inconsistency"].to_pylist()
    one = json.loads(run("pairs", zoo.path, "--model", "m2", "--top", 9, "--format", "json").stdout)
    assert len(one) == 5
    assert all("m2" in (r["model_a"], r["model_b"]) for r in one)


def test_undefined_is_null_in_json_and_a_dash_on_screen(zoo):
    arguments = ("pairs", zoo.path, "-m", "phi", "--all")
    records = json.loads(run(*arguments, "--format", "json").stdout)
    assert [r["phi"] for r in records if r["model_b"] == "truth"] == [None] * 5
    assert "–" in run(*arguments).stdout


def test_matrix_in_every_format(zoo, tmp_path):
    values = ds.pairwise(zoo, "double_fault")["double_fault"]
    arguments = ("matrix", zoo.path, "-m", "double_fault")
    rows = list(csv.reader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
    assert rows[0] == ["model", *zoo.model_ids]
    assert np.array_equal(np.array([r[1:] for r in rows[1:]], float), values)
    record = json.loads(run(*arguments, "--format", "json").stdout)
    assert np.array_equal(record["matrix"], values)
    out = tmp_path / "m.parquet"
    run(*arguments, "--format", "parquet", "--out", out)
    table = pq.read_table(out)
    assert np.array_equal(np.column_stack([table[m] for m in zoo.model_ids]), values)
    assert "double fault of 6 models on 300 examples" in run(*arguments).stdout


def test_ensemble_record_equals_the_library(zoo):
    done = run("ensemble", zoo.path, "--size", 4, "--format", "json")
    best = ds.greedy(zoo, 4)
    record = json.loads(done.stdout)
    assert record == json.loads(json.dumps(best.to_dict()))
    assert record["left_out"] == ["truth"]
    screen = run("ensemble", zoo.path, "--size", 4).stdout
    assert f"{best.report['accuracy']:.4f}" in screen
    assert "95% interval" in screen
    marked = run("ensemble", zoo.path, "--report", "fit", "--allow-same-split", "--size", 2).stdout
    assert "Caution: selected and reported on shared examples" in marked


@pytest.fixture(scope="module")
def twice_labelled(zoo, tmp_path_factory):
    """The zoo with a second label set, of which every third example is not counted."""
    import shutil

    path = tmp_path_factory.mktemp("twice") / "twice.zoo"
    shutil.copytree(zoo.path, path)
    store = ds.open(path)
    store.add_labels("real", [[int(c), 0] if row % 3 else [] for row, c in enumerate(zoo.labels)])
    return store


def test_queries_under_another_label_set(twice_labelled):
    """Records equal the library's; the screen names the label set and how many examples it counts."""
    path, real = twice_labelled.path, twice_labelled.under("real")
    records = {
        command: json.loads(run(command, path, "--labels", "real", "--format", "json").stdout)
        for command in ("models", "pairs", "matrix", "ensemble")
    }
    accuracy = {row["model"]: row["accuracy"] for row in real.models().to_pylist()}
    assert {row["model"]: row["accuracy"] for row in records["models"]} == accuracy
    pairs = ds.pairwise(real, ["error_inconsistency", "error_consistency"])
    assert records["pairs"] == pairs.top(20).to_pylist()
    assert records["matrix"]["matrix"] == pairs["error_inconsistency"].tolist()
    assert records["ensemble"] == json.loads(json.dumps(ds.greedy(real).to_dict()))
    assert records["ensemble"]["labels"] == "real"
    for command, words in (
        ("models", "6 models, accuracy on all examples under labels 'real' (200 examples counted)\n"),
        (
            "pairs",
            "15 pairs of 6 models on 200 examples under labels 'real', by error inconsistency, largest",
        ),
        ("matrix", "error inconsistency of 6 models on 200 examples under labels 'real'\n"),
        ("ensemble", "on split 'fit' under labels 'real' (100 examples counted)"),
        ("ensemble", "On split 'report', 100 examples under labels 'real' that took no part in the choice:"),
    ):
        assert words in run(command, path, "--labels", "real").stdout
        assert "under" not in run(command, path, "--labels", "original").stdout
    assert "label_sets      original, real\n" in run("info", path).stdout


def test_ensembles_by_vote(zoo, tmp_path):
    options = ("--combine", "votes", "--size", 3, "--no-replacement")
    best = ds.greedy(zoo, 3, combine="votes", replacement=False)
    record = json.loads(run("ensemble", zoo.path, *options, "--format", "json").stdout)
    assert record == json.loads(json.dumps(best.to_dict()))
    assert (record["combine"], record["left_out"]) == ("votes", [])
    screen = run("ensemble", zoo.path, *options).stdout
    assert "Greedy selection by accuracy of votes on split 'fit'" in screen
    assert f"  ensemble           accuracy {best.report['accuracy']:.4f}\n" in screen
    assert "nll" not in screen.lower()
    assert "--combine votes takes them): truth" in run("ensemble", zoo.path, "--size", 2).stdout


def test_a_store_of_hard_labels_points_to_votes(tmp_path):
    store = ds.create(tmp_path / "h.zoo", [0, 1] * 5)
    store.add("m", predictions=[0, 1] * 5)
    done = run("ensemble", store.path, status=1)
    assert (
        "pair statistics work, and so do ensembles by vote: pass combine='votes' (--combine votes)"
        in done.stderr
    )
    assert len(done.stderr.splitlines()) == 1


def test_verify_and_remove(zoo, tmp_path):
    import shutil

    copy = tmp_path / "copy.zoo"
    shutil.copytree(zoo.path, copy)
    assert "sound" in run("verify", copy).stdout
    run("remove", copy, "m4")
    shard = copy / "models/m1/logits/c.0.0"
    data = bytearray(shard.read_bytes())
    data[17] ^= 1
    shard.write_bytes(data)
    record = json.loads(run("verify", copy, "--format", "json", status=1).stdout)
    assert [p["model"] for p in record["problems"]] == ["m1"]
    assert record["models"] == 5
    assert "fails its checksum" in run("ensemble", copy, status=1).stderr
    assert "sound" in run("verify", copy, "--quick").stdout
    mended = json.loads(run("repair", copy, "--format", "json").stdout)
    assert mended["ok"]
    assert [(a["model"], a["action"]) for a in mended["actions"]] == [("m1", "quarantined")]
    assert run("repair", copy).stdout == "nothing to repair; the store verifies\n"
    assert "format version 2 is the newest" in run("migrate", copy).stdout


def test_copy_and_provenance(zoo, tmp_path):
    packed = tmp_path / "packed.zoo"
    done = run("copy", zoo.path, packed, "--model", "m1", "--model", "truth", "--codec", "archive")
    assert f"{packed}: 2 models, " in done.stdout
    run("copy", zoo.path, packed, "--codec", "archive")
    assert ds.open(packed).models() == zoo.models()
    record = json.loads(run("info", packed, "--model", "m1", "--format", "json").stdout)
    assert record["fingerprint"] == zoo.model("m1").fingerprint
    assert record["copied"]["committed_at"] == zoo.model("m1").committed_at
    assert "software numpy" in run("info", packed, "--model", "m1").stdout


def test_output_files_are_not_overwritten_unasked(zoo, tmp_path):
    out = tmp_path / "models.csv"
    run("models", zoo.path, "--format", "csv", "--out", out)
    before = out.read_bytes()
    assert (
        "exists already; choose another file or pass --force"
        in run("models", zoo.path, "--out", out, status=1).stderr
    )
    assert out.read_bytes() == before
    run("models", zoo.path, "--format", "json", "--out", out, "--force")
    assert json.loads(out.read_text())
    assert [p.name for p in tmp_path.iterdir()] == ["models.csv"]
    missing = run("models", zoo.path, "--out", tmp_path / "no" / "m.csv", status=1)
    assert "make it first" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["info", "nowhere.zoo"], 1, "nowhere.zoo is not a Dissensus store: it does not exist"),
        (["pairs", "ZOO", "-m", "kapa"], 1, "unknown measure 'kapa'"),
        (["pairs", "ZOO", "--model", "m9"], 1, "unknown model 'm9'; did you mean"),
        (["pairs", "ZOO", "--split", "test"], 1, "unknown split 'test'; there are: fit, report, all"),
        (["pairs", "ZOO", "--all", "--top", "3"], 2, "--all lists every pair, --top some of them"),
        (["pairs", "ZOO", "--min-accuracy", "0.999"], 1, "--min-accuracy 0.999: 1 model reaches it"),
        (["pairs", "ZOO", "--min-accuracy", "90"], 2, "Invalid value for '--min-accuracy'"),
        (["models", "ZOO", "--force"], 2, "--force goes with --out FILE"),
        (["matrix", "ZOO", "--format", "parquet"], 2, "name a file with --out FILE"),
        (["ensemble", "ZOO", "--report", "fit"], 1, "--allow-same-split"),
        (["ensemble", "ZOO", "--size", "0"], 2, "Invalid value for '--size'"),
        (["ensemble", "ZOO", "--candidate", "truth"], 1, "have hard labels only"),
        (["ensemble", "ZOO", "--combine", "vote"], 1, "combine must be 'probabilities'"),
        (["ensemble", "ZOO", "--combine", "votes", "--metric", "nll"], 1, "metric='nll' needs probabilities"),
        (["ensemble", "ZOO", "--combine", "votes", "--calibrate"], 1, "calibrate=True changes no vote"),
        (["pairs", "ZOO", "--labels", "real"], 1, "unknown label set 'real'; did you mean original"),
        (["duo", "ZOO", "--all", "m0"], 2, "--all weighs every pair of the store: leave the names out"),
        (["ensemble", "ZOO", "--size", "9", "--no-replacement"], 1, "without replacement need as many"),
        (["remove", "ZOO", "nobody"], 1, "unknown model 'nobody'"),
        (["remove", "ZOO", "m1", "nobody"], 1, "unknown model 'nobody'"),
        (["models", "ZOO", "--out", "x.xlsx"], 1, "no format is called 'xlsx'"),
        (["remove", "ZOO", "\udcff"], 1, "must be valid Unicode"),
        (["info", "ZOO", "--model", "m9"], 1, "unknown model 'm9'; did you mean"),
        (["verify", "nowhere.zoo"], 1, "is not a Dissensus store: it does not exist"),
        (["repair", "nowhere.zoo"], 1, "is not a Dissensus store: it does not exist"),
        (["migrate", "nowhere.zoo"], 1, "is not a Dissensus store: it does not exist"),
        (["copy", "nowhere.zoo", "x.zoo"], 1, "is not a Dissensus store: it does not exist"),
        (["copy", "ZOO", "ZOO"], 1, "lies within the store that is to be copied"),
        (["copy", "ZOO", "x.zoo", "--model", "m9"], 1, "unknown model 'm9'"),
        (["copy", "ZOO", "x.zoo", "--dtype", "float32"], 1, "what was rounded is gone"),
        (["copy", "ZOO", "x.zoo", "--codec", "zip"], 2, "Invalid value for '--codec'"),
        (["nonsense"], 2, "No such command 'nonsense'"),
        (["ingest", "ZOO", "timm", "resnet18", "--data", "digits"], 1, "random weights are refused"),
        (["ingest", "ZOO", "timm", "resnet18", "--data", "gone", "--pretrained"], 1, "no such data: gone"),
        (
            ["ingest", "ZOO", "timm", "resnet_18x", "--data", "digits", "--pretrained"],
            1,
            "unknown timm model",
        ),
    ],
)
def test_bad_input_is_one_clear_line(zoo, arguments, status, message):
    before = sorted(p for p in zoo.path.rglob("*"))
    done = run(*[zoo.path if a == "ZOO" else a for a in arguments], status=status)
    assert message in done.stderr
    assert done.stdout == ""
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
    assert sorted(p for p in zoo.path.rglob("*")) == before


def commands():
    from dissensus_cli.main import COMMANDS

    return list(COMMANDS)


@pytest.mark.parametrize("command", commands())
def test_every_command_has_help_with_an_example(command):
    _, _, examples = run(command, "--help").stdout.partition("Example")
    assert f"  dissensus {command}" in examples
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert f"dissensus {command}" in readme


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    """More output than a pipe holds."""
    rng = np.random.default_rng(0)
    store = ds.create(tmp_path / "s.zoo", rng.integers(0, 2, 20))
    for i in range(60):
        store.add(f"a-model-with-a-long-name-{i}", predictions=rng.integers(0, 2, 20))
    command = f"{DISSENSUS} pairs {store.path} --all --format csv"
    assert len(subprocess.run(command, shell=True, capture_output=True, check=True).stdout) > 1 << 16
    done = subprocess.run(f"{command} | head -n 1", shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("model_a,model_b")
    assert done.stderr == ""


def test_a_model_called_model(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1, 1])
    for name in ("model", "other"):
        store.add(name, predictions=[0, 1, 0])
    rows = list(csv.reader(io.StringIO(run("matrix", store.path, "--format", "csv").stdout)))
    assert rows == [["row model", "model", "other"], ["model", "0.0", "0.0"], ["other", "0.0", "0.0"]]


def test_names_are_shown_as_they_are(tmp_path):
    store = ds.create(tmp_path / "s.zoo", [0, 1])
    names = ["sweep[/lr=0.1]", "a:zap:b", "[bold]x"]
    for name in names:
        store.add(name, predictions=[0, 1], metadata={"architecture": "[red]"})
    text = run("models", store.path).stdout
    assert all(name in text for name in names)
    assert "[red]" in text


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A folder of timm checkpoints: two sound ones, one that gives NaN, one of another architecture."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("checkpoints")
    for name in ("sound", "twin", "nan"):
        torch.manual_seed(len(name))
        weights = timm.create_model("test_resnet", num_classes=10).state_dict()
        if name == "nan":
            weights["fc.bias"][3] = float("nan")
        save_file(weights, folder / f"test_resnet__{name}.safetensors")
    save_file({"head.weight": torch.zeros(10, 3)}, folder / "test_vit.safetensors")
    return folder


def test_ingest_goes_on_past_bad_models_and_is_complete_the_second_time(checkpoints, tmp_path):
    """Really trained or not makes no difference here: the models are built, run and stored."""
    store = tmp_path / "new.zoo"
    arguments = (
        "ingest",
        store,
        "timm",
        "*",
        "--data",
        "digits",
        "--checkpoints",
        checkpoints,
        "--format",
        "json",
    )
    done = run(*arguments, status=1)
    status = {row["model"]: row["status"] for row in json.loads(done.stdout)}
    failed, sound = ("test_resnet__nan", "test_vit"), ("test_resnet__sound", "test_resnet__twin")
    assert status == dict.fromkeys(failed, "failed") | dict.fromkeys(sound, "done")
    errors = {row["model"]: row.get("error", "") for row in json.loads(done.stdout)}
    assert "gave nan for example 'digit-0000', class '3'" in errors["test_resnet__nan"]
    assert "test_vit.safetensors" in errors["test_vit"]
    again = json.loads(run(*arguments, status=1).stdout)
    assert [row["status"] for row in again] == ["failed", "stored", "stored", "failed"]
    assert ds.open(store).model_ids == ["test_resnet__sound", "test_resnet__twin"]
    assert ds.open(store).verify().ok
    assert ds.open(store).staged() == []


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_names_and_numbers_stay_whole_in_a_narrow_terminal(zoo, columns, monkeypatch):
    from dissensus_cli import output

    monkeypatch.setattr(output, "screen_width", lambda otherwise: columns)
    measures = ["error_inconsistency", "error_consistency", "phi"]
    table = ds.pairwise(zoo, measures, models=["m0", "m1", "m2"]).to_arrow()
    lines = output.render(table).splitlines()
    for row in table.to_pylist():
        wanted = [output.cell(value) for value in row.values()]
        assert any(line.split() == wanted for line in lines), (wanted, lines)


@pytest.mark.parametrize("to_file", [False, True])
def test_a_wide_table_fits_a_terminal_of_80_columns_and_is_whole_in_a_file(to_file, monkeypatch):
    import pyarrow as pa

    from dissensus_cli import output

    monkeypatch.setattr(output, "screen_width", lambda otherwise: 80)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    names = [f"mobilenetv3_small_100.lamb_in1k_r{size}" for size in (224, 256)]
    measures = {"kappa": ["0.164 [0.143, 0.185]", "–"]}
    measures |= {f"long_measure_of_number_{i}": [0.5, 0.25] for i in range(6)}
    table = pa.table({"model_a": names, "model_b": names[::-1], **measures})
    text = output.render(table, to_file=to_file)
    if to_file:
        assert all(name in text for name in names)
        assert text.count("0.5000") == 6
        assert "\x1b" not in text
        return
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert max(map(len, plain.splitlines()[:-1])) <= 80
    assert "0.164 [0.143, 0.185]" in plain  # figures are shown whole or not at all
    assert "mobile…_r224" in plain  # names keep their ends
    assert "mobile…_r256" in plain
    last = plain.splitlines()[-1]
    assert last.startswith("No room for long_measure_of_number_")
    assert last.endswith("long_measure_of_number_5: see --format json or a wider terminal")


@pytest.mark.parametrize("name", ["kappa", "kapa", "cohens_kappa"])
def test_kappa_is_told_which(zoo, name):
    done = run("pairs", zoo.path, "-m", name, status=1)
    assert "kappa is error_consistency (or label_kappa, of predicted classes)" in done.stderr


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.01, 0.03, "]"), (-0.01, 0.02, "], which includes no gain"), (-0.03, -0.01, "]: a loss")],
)
def test_the_verdict_fits_its_interval(low, high, words):
    from dissensus.ensemble import Interval
    from dissensus_cli.ensemble_view import _gain

    for metric in ("accuracy", "nll"):
        text = _gain(Interval(metric, "m", (low + high) / 2, low, high, 0.95, 100))
        assert text.endswith(words)


def test_measures_of_labels_and_probabilities_on_the_command_line(zoo):
    records = json.loads(
        run("pairs", zoo.path, "-m", "same_wrong", "-m", "label_kappa", "--format", "json").stdout
    )
    assert records == ds.pairwise(zoo, ["same_wrong", "label_kappa"]).top().to_pylist()
    scored = [m for m in zoo.model_ids if m != "truth"]
    chosen = [argument for m in scored for argument in ("--model", m)]
    record = json.loads(run("matrix", zoo.path, "-m", "capa", "--format", "json", *chosen).stdout)
    np.testing.assert_array_equal(record["matrix"], ds.pairwise(zoo, "capa", models=scored)["capa"])


def test_measures_of_probabilities_name_the_models_without(zoo):
    done = run("pairs", zoo.path, "-m", "kl", status=1)
    assert (
        "Error: logits or probabilities are needed for kl; models with hard labels only: truth."
        in done.stderr
    )
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["ensemble", "ingest", "pairs"])
def test_options_of_a_long_help_all_have_a_group(command):
    text = run(command, "--help").stdout
    output = text.split("\nOutput:\n")[1]
    named = re.findall(r"^  (?:-h, )?(--[a-z]+)", output, re.M)
    assert [name for name in named if name != "--plan"] == ["--format", "--out", "--force", "--help"]
    assert "\nOptions:\n" not in text
    assert "\nWhere it runs:\n" in text


def test_the_help_of_matrix_lists_the_table_of_measures():
    from dissensus.pairs import MEASURES

    text = " ".join(run("matrix", "--help").stdout.split())
    for measure in MEASURES.values():
        assert f"{measure.name} {' '.join(measure.summary.split())} [{measure.more_different} = more" in text
