"""The distribution: what the wheel owns, light imports, and arrows between layers that point one way."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import check_wheel
import dissensus as ds

REPOSITORY = Path(__file__).parent.parent
SOURCES = REPOSITORY / "engine" / "dissensus"

# Each layer and the layers it may import, besides itself and `errors`.
LAYERS = {
    "errors": set(),
    "store": set(),
    "kernels": set(),
    "run": {"store", "kernels"},
    "ingest": {"run", "store"},
    "pairs": {"run", "store", "kernels"},
    "ensemble": {"run", "store", "kernels"},
    "plots": {"pairs"},
    "explain": {"plots", "ensemble", "pairs", "run", "store", "kernels"},
    "bench": {"plots", "ingest", "pairs", "ensemble", "run", "store", "kernels"},
    "demo": {"ingest", "pairs", "ensemble", "run", "store"},
}
# Results that ask a layer above, inside a method only.
LAZILY = {"ensemble": {"explain"}}
# Who may import what heavy thing anywhere, even inside a function.
HEAVY = {
    "torch": {"ingest", "demo", "run", "kernels"},
    "timm": {"ingest", "demo"},
    "datasets": {"ingest"},
    "sklearn": {"demo", "ingest"},
    "numba": {"kernels"},
    "zarr": set(),
    "rich": {"run"},
    "matplotlib": {"plots"},
    "scipy": {"plots"},
}


def imported(path: Path, *, at_once: bool = False) -> list[str]:
    """Absolute names of all modules a file imports, wherever in it, or but for what functions import."""
    package = ["dissensus", *path.relative_to(SOURCES).parts[:-1]]
    names = []
    tree = ast.parse(path.read_text())
    later = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and is_type_checking(node))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if at_once and node in later:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names.append(".".join([*base, *([node.module] if node.module else [])]))
    return names


def is_type_checking(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@pytest.mark.parametrize("layer", LAYERS)
def test_arrows_between_layers_point_one_way(layer):
    files = [SOURCES / "errors.py"] if layer == "errors" else sorted((SOURCES / layer).rglob("*.py"))
    assert files
    for path in files:
        at_once = imported(path, at_once=True) if layer in LAZILY else []
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "dissensus" and len(parts) > 1:
                lazily = set() if name in at_once else LAZILY.get(layer, set())
                assert parts[1] in LAYERS[layer] | lazily | {layer, "errors"}, f"{path} imports {name}"
            assert layer in HEAVY.get(parts[0], {layer}), f"{path} imports {name}"
            assert parts[0] != "dissensus_cli", f"{path} imports {name}"


def test_every_folder_is_a_declared_layer():
    folders = {p.name for p in SOURCES.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders | {"errors"} == set(LAYERS)


def test_wheel_owns_exactly_its_two_packages(tmp_path):
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(REPOSITORY),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert check_wheel.problems(str(wheel)) == []


def test_version_and_exports():
    assert importlib.metadata.version("dissensus") == ds.__version__
    assert f"## {ds.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
    for name in ds.__all__:
        assert getattr(ds, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ds.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code",
    [
        "import dissensus",
        "from dissensus_cli.main import main; main(['--help'])",
        "from dissensus_cli.main import main; main(['--version'])",
    ],
)
def test_light_imports(code):
    """Neither `import dissensus` nor the help loads torch, timm, numba, pyarrow or scikit-learn."""
    heavy = "{'torch', 'timm', 'numba', 'sklearn', 'zarr', 'dask', 'pyarrow'}"
    report = f"print('LOADED', sorted({heavy} & set(sys.modules)))"
    check = f"import atexit, sys; atexit.register(lambda: {report})\n{code}"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout


@pytest.mark.parametrize("name", [name for name in ds.__all__ if not name.startswith("_")])
def test_every_public_name_is_documented(name):
    value = getattr(ds, name)
    assert re.match(r"[A-Z].*\.\n|[A-Z].*\.$", value.__doc__ or ""), f"{name}: one sentence first"
