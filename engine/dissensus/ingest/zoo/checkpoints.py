"""Checkpoints on disk: which a folder holds, what they say about the model, and where they do not fit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError, ModelLoadError

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".pth.tar")
_STATES = ("model_state_dict", "net", "network", "weights")  # beside those that timm looks for

_LAYOUT = (
    "expected one sub-folder a model with config.json and model.safetensors (timm's save_for_hf), "
    "or files <architecture>.safetensors or <architecture>__<anything>.safetensors "
    f"(also {', '.join(SUFFIXES[1:])})"
)


@dataclass(frozen=True)
class Checkpoint:
    """One model on disk.

    Attributes
    ----------
    model_id
        Name of the folder, or of the file without its suffix.
    architecture
        timm architecture with an optional tag; empty where config.json does not tell.
    path
        The folder with config.json, or the file.
    """

    model_id: str
    architecture: str
    path: Path


def find_checkpoints(folder: str | Path) -> list[Checkpoint]:
    """Return the checkpoints of a folder, sorted by model id.

    Parameters
    ----------
    folder
        Holds sub-folders in timm's `local-dir:` layout, or weight files named by their architecture, or is
        itself one such sub-folder.

    Raises
    ------
    ArgumentError
        The folder is missing or holds no checkpoint, or two of its checkpoints have the same name.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ArgumentError(
            f"checkpoints must be a folder, {root} is {'a file' if root.exists() else 'missing'}"
        )
    if (root / "config.json").is_file():
        return [_from_folder(root)]
    entries = sorted(root.iterdir())
    found = [_from_folder(entry) for entry in entries if (entry / "config.json").is_file()]
    found += [_from_file(entry) for entry in entries if entry.is_file() and split_suffix(entry.name)[1]]
    if not found:
        raise ArgumentError(f"no checkpoints in {root}: {_LAYOUT}")
    _refuse_doubles(found)
    _tell_skipped(root, {entry.name for entry in entries} - {checkpoint.path.name for checkpoint in found})
    return sorted(found, key=lambda checkpoint: checkpoint.model_id)


def split_suffix(name: str) -> tuple[str, str]:
    """Return a file name without the suffix of weight files, and that suffix in lower case, or ""."""
    lower = name.lower()
    suffix = max((suffix for suffix in SUFFIXES if lower.endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)], suffix


def read_architecture(folder: Path) -> str:
    """Return the architecture that a folder's config.json names; raises as `read_config`."""
    return str(read_config(folder)["architecture"])


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's config.json.

    Raises
    ------
    ModelLoadError
        It is no JSON object with an architecture.
    """
    path = folder / "config.json"
    try:
        config = dict(json.loads(path.read_text(encoding="utf-8")))
        config["architecture"] = str(config["architecture"])
        return config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelLoadError(
            f"{path} must be a JSON object that names its architecture, as timm's save_for_hf writes it "
            f"({error!r})"
        ) from error


def weights_file(folder: Path) -> Path | None:
    """Return the file that timm takes the weights of a `local-dir:` folder from, None if there is none."""
    names = [f"{stem}{suffix}" for suffix in SUFFIXES for stem in ("model", "pytorch_model")]
    preferred = [folder / name for name in names if (folder / name).is_file()]
    others = sorted(path for path in folder.iterdir() if split_suffix(path.name)[1])
    return next(iter(preferred + others), None)


def read_state(path: Path, architecture: str) -> dict[str, Any]:
    """Return the state dict of a weight file, read by timm (training checkpoints included).

    Raises
    ------
    ModelLoadError
        The file is damaged or no state dict.
    """
    try:
        state = _load_state(path)
    except Exception as error:  # each format fails in its own way on damaged bytes
        text = one_line(error)
        raise ModelLoadError(f"{path} cannot be read as a checkpoint of {architecture}: {text}") from error
    if not state or not all(hasattr(value, "shape") for value in state.values()):
        raise ModelLoadError(
            f"{path} is no state dict of {architecture}: expected named tensors, or a dictionary with them "
            f"under state_dict, model or {', '.join(_STATES)}; it holds "
            f"{_first(list(map(str, state)), 8) or 'nothing'}"
        )
    return state


def _load_state(path: Path) -> dict[str, Any]:
    """Return the named tensors of a file without the prefixes of wrappers, or what else it holds."""
    from timm.models import clean_state_dict, load_state_dict

    if split_suffix(path.name)[1] == ".safetensors":
        from safetensors.torch import load_file

        return dict(clean_state_dict(load_file(path)))
    state = dict(load_state_dict(str(path)))
    nested = [state[key] for key in _STATES if isinstance(state.get(key), Mapping)]
    return dict(clean_state_dict(nested[0])) if nested else state


def head_size(state: Mapping[str, Any], classifier: str | tuple[str, ...] | None) -> int | None:
    """Return the classes that the classifier in a state dict tells apart, None if it is not there."""
    names = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    for name in names:
        for key in (f"{name}.weight", f"{name}.bias"):
            if key in state and len(state[key].shape):
                return int(state[key].shape[0])
    return None


def input_channels(
    state: Mapping[str, Any],
    built: Mapping[str, Any],
    first_conv: str | tuple[str, ...] | None,
    channels: int,
) -> int | None:
    """Return the input channels of a state dict, None if they are those of a model built for `channels`.

    A stem may fold pixels into channels, so that only the ratio of the two first convolutions tells.
    """
    name = first_conv if isinstance(first_conv, str) or first_conv is None else first_conv[0]
    own, theirs = state.get(f"{name}.weight"), built.get(f"{name}.weight")
    if own is None or theirs is None or own.ndim != 4 or own.shape[1] == theirs.shape[1]:
        return None
    return int(own.shape[1] * channels // theirs.shape[1]) or None


def misfit(state: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Return one line on the first keys and shapes in which two state dicts differ, None if they agree."""
    missing = [key for key in wanted if key not in state]
    extra = [key for key in state if key not in wanted]
    shapes = [
        f"{key} is {tuple(state[key].shape)}, needed {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and tuple(state[key].shape) != tuple(wanted[key].shape)
    ]
    parts = [("missing", missing), ("unexpected", extra), ("of another shape", shapes)]
    lines = [f"{len(keys)} {what} ({_first(keys)})" for what, keys in parts if keys]
    return "; ".join(lines) or None


def one_line(error: BaseException) -> str:
    """Return an exception's message on one line, cut to a readable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


def _first(keys: list[str], n: int = 2) -> str:
    return ", ".join(keys[:n]) + (", …" if len(keys) > n else "")


def _from_folder(folder: Path) -> Checkpoint:
    try:
        architecture = read_architecture(folder)
    except ModelLoadError:
        architecture = ""  # said again when this model is loaded; the others go on
    return Checkpoint(folder.resolve().name, architecture, folder)


def _from_file(path: Path) -> Checkpoint:
    model_id = split_suffix(path.name)[0]
    return Checkpoint(model_id, model_id.split("__", 1)[0], path)


def _refuse_doubles(found: list[Checkpoint]) -> None:
    by_id: dict[str, Path] = {}
    for checkpoint in found:
        other = by_id.setdefault(checkpoint.model_id, checkpoint.path)
        if other != checkpoint.path:
            raise ArgumentError(
                f"{other} and {checkpoint.path} both name model {checkpoint.model_id!r}; rename one"
            )


def _tell_skipped(root: Path, names: set[str]) -> None:
    skipped = sorted(name for name in names if not name.startswith("."))
    if skipped:
        warnings.warn(f"no checkpoints, skipped in {root}: {_first(skipped, 8)}", stacklevel=4)
