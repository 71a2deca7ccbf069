"""The README is true: its blocks run, its commands are the real ones, its figures are the stored ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import real_data

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text()
PYTHON_BLOCKS = re.findall(r"<!-- runs -->\n```python\n(.*?)```", README, re.S)
PEERS_BLOCKS = re.findall(r"<!-- runs with: xarray polars duckdb -->\n```python\n(.*?)```", README, re.S)
COMMANDS = re.findall(r"^(dissensus (?!demo|ingest).*)$", README, re.M)


# What the README's own command does not install: its blocks must run without.
ONLY_DEMO = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pandas", "xarray", "hypothesis", "pytest"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def session(digits_demo, tmp_path, monkeypatch):
    """A folder with a small digits demo in it, as after `dissensus demo`."""
    shutil.copytree(digits_demo, tmp_path / "demo-digits")
    write_predictions(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def write_predictions(folder):
    """Small files by the names and in the form of those that the README imports."""
    ids = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in (3, 1, 2)]
    for name, column in [("labels", "label"), *((m, "predicted_class") for m in real_data.FRAMEWORKS)]:
        rows = "".join(f"{id_},{i},0.5\n" for i, id_ in enumerate(ids))
        (folder / f"{name}.csv").write_text(f"file_name,{column},predicted_probability\n{rows}")
    (folder / "metaclasses.csv").write_text("wnid,name,metaclass\nn1,fish,0\nn1,fish,0\nn2,bird,1\n")
    (folder / "real-labels.jsonl").write_text("[[0, 1], [], [2]]")
    np.save(folder / "original-labels.npy", np.array([0, 1, 2]))
    (folder / "original").mkdir()
    for name in ("alexnet", "vgg"):
        (folder / "original" / f"{name}.json").write_text("[0, 1, 1]")


def test_there_is_something_to_run():
    assert len(PYTHON_BLOCKS) >= 3
    assert len(PEERS_BLOCKS) >= 2
    assert len(COMMANDS) >= 7


@pytest.mark.parametrize("block", [*(ONLY_DEMO + block for block in PYTHON_BLOCKS), *PEERS_BLOCKS])
def test_python_blocks_run(session, block):
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_commands_run_as_printed(session):
    for command in COMMANDS:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_the_two_commands_of_the_first_screen():
    first = README[: README.index("## Your own models")]
    assert "\npython -m pip install '.[demo]' && dissensus demo\n" in first
    assert "\npython -m pip install '.[test]' && python -m pytest -n auto --dist loadfile\n" in first


def test_measures_are_all_named():
    """In the README and in the help of `dissensus matrix`."""
    from dissensus.pairs.measures import MEASURES

    help_text = subprocess.run(
        [sys.executable, "-m", "dissensus_cli", "matrix", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert [m for m in MEASURES if m not in help_text.split()] == []

    text = README.replace(
        "`_unbiased`, `_max`, `_min`",
        " ".join(f"`error_consistency_{s}`" for s in ("unbiased", "max", "min")),
    )
    assert [m for m in MEASURES if f"`{m}`" not in text] == []


def test_numbers_equal_plain_numpy_on_what_zarr_reads(session):
    """Everything the queries print about the demo, recomputed without this library."""
    script = Path(__file__).parent / "recompute.py"
    command = [sys.executable, str(script), "demo-digits/digits.zoo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "numbers recomputed" in done.stdout


def test_figures_are_those_of_the_stored_results():
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
