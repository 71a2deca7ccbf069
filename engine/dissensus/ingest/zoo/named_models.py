"""One door for the command line: what the user names as models becomes model sources."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dissensus.errors import ArgumentError, UnknownName

from .models import ModelSource
from .stated import StatedPreprocess, read_preprocess

Preprocess = str | os.PathLike[str] | Mapping[str, Any] | StatedPreprocess


def open_models(
    source: str,
    names: str | Sequence[str],
    *,
    checkpoints: str | Path | None = None,
    pretrained: bool = False,
    preprocess: Preprocess | None = None,
    output: str | None = None,
    kind: str | None = None,
) -> list[ModelSource]:
    """Return the model sources that names stand for.

    Parameters
    ----------
    source
        "timm" (names or patterns), "torch" (TorchScript files and programs of torch.export), "onnx" (files),
        "hf" (folders or names on the hub) or "python" (`module:function`).
    names
        What to open there, one or several.
    checkpoints, pretrained
        Where the weights of timm models come from, see `timm_models`.
    preprocess
        For all but timm: see `read_preprocess`.
    output
        For onnx: the output to store.
    kind
        For torch, onnx and python: "logits" or "probabilities".

    Raises
    ------
    UnknownName, ArgumentError
        There is no such source or model, or an option is given that the source does not take.
    """
    if source not in SOURCES:
        raise UnknownName.of("model source", source, SOURCES)
    given = {
        "checkpoints": checkpoints,
        "pretrained": pretrained or None,
        "preprocess": preprocess,
        "output": output,
        "kind": kind,
    }
    options = {name: value for name, value in given.items() if value is not None}
    make, taken = SOURCES[source]
    for name in options:
        if name not in taken:
            takers = ", ".join(other for other, (_, known) in SOURCES.items() if name in known)
            raise ArgumentError(f"{name} (--{name}) is for models of {takers}; leave it out for {source}")
    if preprocess is not None and not isinstance(preprocess, StatedPreprocess):
        options["preprocess"] = read_preprocess(preprocess)
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        raise ArgumentError("models must name at least one model, got none")
    return make(wanted, options)


def _timm(names: list[str], options: dict[str, Any]) -> list[ModelSource]:
    from .timm_sources import timm_models

    return timm_models(names, **options)


def _torch(names: list[str], options: dict[str, Any]) -> list[ModelSource]:
    from .exported import ExportedModel

    return [ExportedModel(name, **options) for name in names]


def _onnx(names: list[str], options: dict[str, Any]) -> list[ModelSource]:
    from .onnx_models import OnnxModel

    return [OnnxModel(name, **options) for name in names]


def _hf(names: list[str], options: dict[str, Any]) -> list[ModelSource]:
    from .hf_models import HfModel

    return [HfModel(name, **options) for name in names]


def _python(names: list[str], options: dict[str, Any]) -> list[ModelSource]:
    from .functions import python_models

    return python_models(names, **options)


# How each source makes its models, and which options it takes.
SOURCES: dict[str, tuple[Callable[[list[str], dict[str, Any]], list[ModelSource]], tuple[str, ...]]] = {
    "timm": (_timm, ("checkpoints", "pretrained")),
    "torch": (_torch, ("preprocess", "kind")),
    "onnx": (_onnx, ("preprocess", "output", "kind")),
    "hf": (_hf, ("preprocess",)),
    "python": (_python, ("preprocess", "kind")),
}
