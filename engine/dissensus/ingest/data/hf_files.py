"""Finding and opening Hugging Face data on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError, MissingDependency

from .listing import natural_key
from .patterns import expand, is_pattern

HF_SUFFIXES = (".parquet", ".arrow")
_PART = re.compile(r"(.+?)-\d+-of-\d+")  # the hub's names: train-00000-of-00004


def is_hf(path: Path) -> bool:
    """Whether a path is a data set that `HfExamples` opens: told by names, without the library."""
    if path.is_dir():
        return _is_saved(path) or _has_parts(path) or bool(_files_in(path))
    return path.suffix in HF_SUFFIXES


def _is_saved(folder: Path) -> bool:
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def _has_parts(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file()


def _files_in(folder: Path) -> list[Path]:
    """Return the Parquet or Arrow files of a folder that has no sub-folders."""
    entries = list(folder.iterdir())
    if any(entry.is_dir() and not entry.name.startswith(".") for entry in entries):
        return []
    found = [entry for entry in entries if entry.suffix in HF_SUFFIXES and not entry.name.startswith(".")]
    return sorted(found, key=lambda file: natural_key(file.name))


def hf_library() -> Any:
    """Return the module `datasets`, or say how to get it."""
    try:
        import datasets
    except ImportError as error:
        message = "Hugging Face data is read by datasets, which is not installed: pip install 'dissensus[hf]'"
        raise MissingDependency(message) from error
    return datasets


def open_hf(data: Any) -> Any:
    """Return the `datasets.Dataset` that a path, folder or pattern stands for; one that is given, as it is.

    Raises
    ------
    MissingDependency
        `datasets` is not installed.
    ArgumentError
        There is no such data, it holds several parts, or it cannot be read.
    """
    datasets = hf_library()
    if isinstance(data, datasets.Dataset):
        return data
    if not isinstance(data, str | Path):
        raise ArgumentError(f"data must be a path or a datasets.Dataset, got {type(data).__name__}")
    folder = _one_part(Path(data))
    try:
        if folder.is_dir() and not _files_in(folder):
            return datasets.load_from_disk(str(folder))
        return _from_files(datasets, _files_of(str(folder)))
    except (ArgumentError, MissingDependency):
        raise
    except Exception as error:  # datasets raises its own, Arrow's and fsspec's errors
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArgumentError(f"{data} cannot be read as Hugging Face data: {first}") from error


def _one_part(path: Path) -> Path:
    """Return the folder of the only part of a saved dictionary of data sets, other paths as they are."""
    if not _has_parts(path):
        return path
    parts = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
    if len(parts) != 1:
        raise ArgumentError(
            f"{path} holds several parts; name one of them: {', '.join(str(path / p) for p in parts)}"
        )
    return path / str(parts[0])


def _files_of(spec: str) -> list[Path]:
    path = Path(spec)
    files = _files_in(path) if path.is_dir() else expand(spec) if is_pattern(spec) else [path]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None or not files:
        raise ArgumentError(f"no such data: {missing or path}")
    parts = sorted({match[1] for file in files if (match := _PART.match(file.name))})
    if len(parts) > 1:
        raise ArgumentError(
            f"{spec} holds several parts ({', '.join(parts)}); name one: {files[0].parent}/{parts[0]}-*"
        )
    if len({file.suffix for file in files}) > 1:
        raise ArgumentError(f"{spec} holds Parquet and Arrow files; name those of one kind")
    return files


def _from_files(datasets: Any, files: list[Path]) -> Any:
    if files[0].suffix == ".parquet":
        return datasets.Dataset.from_parquet([str(file) for file in files])
    return datasets.concatenate_datasets([datasets.Dataset.from_file(str(file)) for file in files])
