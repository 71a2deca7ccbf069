"""timm models as model sources: local checkpoints, or pretrained weights where there is a network."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, UnknownName

from .checkpoints import Checkpoint, find_checkpoints, split_suffix
from .models import LazyModel, ModelSource

if TYPE_CHECKING:
    import torch

    from .module_predictor import ModulePredictor
    from .outline import Outline

DATA_KEYS = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")


@dataclass(frozen=True)
class TimmModel:
    """One timm model with its weights from a checkpoint on disk, or timm's pretrained ones.

    Preprocessing is timm's own for the model (`resolve_model_data_config`, `create_transform`). Random
    weights are refused: one of `checkpoint` and `pretrained` must be given.

    Parameters
    ----------
    architecture
        timm name, with or without a pretrained tag (the tag decides the preprocessing too).
    checkpoint
        A weight file of this architecture (.safetensors, .pth, .pt, .bin, .pth.tar; number of classes and
        input channels are read from it), or a folder in timm's `local-dir:` layout: config.json beside the
        weights.
    pretrained
        Fetch timm's weights from its hub, or take them from its cache.
    model_id
        Name in the store; by default the checkpoint's file or folder name, else architecture and tag.
    metadata
        Stored with the model.
    model_args
        Further arguments of `timm.create_model`, such as `img_size`.
    data_config
        Preprocessing to use instead of the model's own: `input_size`, `mean`, `std`, `crop_pct`, `crop_mode`,
        `interpolation`.

    Raises
    ------
    UnknownName
        timm knows no such architecture; the nearest ones are named.
    ArgumentError
        Neither or both of `checkpoint` and `pretrained` are given, or the checkpoint does not exist.
    """

    architecture: str
    _: KW_ONLY
    checkpoint: str | Path | None = None
    pretrained: bool = False
    model_id: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model_args: Mapping[str, Any] = field(default_factory=dict)
    data_config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.checkpoint is None) != bool(self.pretrained):
            _refuse_weights(self.architecture, both=bool(self.pretrained))
        if self.checkpoint is not None and not Path(self.checkpoint).exists():
            raise ArgumentError(f"checkpoint of {self.architecture} not found: {self.checkpoint}")
        if self.architecture or self.pretrained:
            where = "" if self.checkpoint is None else f"(checkpoint {self.checkpoint})"
            require_architecture(self.architecture, where)
        self._check_data_config()
        if not self.model_id:
            object.__setattr__(self, "model_id", self._default_id())

    def _check_data_config(self) -> None:
        unknown = [key for key in self.data_config if key not in DATA_KEYS]
        if unknown:
            raise UnknownName.of("data_config entry", unknown[0], DATA_KEYS)

    def _default_id(self) -> str:
        if self.checkpoint is None:
            return tagged_name(self.architecture)
        path = Path(self.checkpoint)
        return path.resolve().name if path.is_dir() else split_suffix(path.name)[0]

    def load(self, device: torch.device) -> ModulePredictor:
        """Build the model, load its weights strictly and move it to `device`.

        Raises
        ------
        ModelLoadError
            The weights are not there or do not fit; file, architecture and the first differences are named.
        """
        from .timm_loading import load_timm

        return load_timm(self, device)

    def outline(self, counted: bool = True) -> Outline:
        """Return what configuration and file header tell; counted on the architecture without its weights."""
        from .timm_outline import outline_timm

        return outline_timm(self, counted)


def timm_models(
    patterns: str | Iterable[str] = "*",
    *,
    checkpoints: str | Path | None = None,
    pretrained: bool = False,
) -> list[ModelSource]:
    """Return the timm models that names and patterns select.

    Parameters
    ----------
    patterns
        Names, or shell patterns such as `resnet*`. With `checkpoints` they select by model id or
        architecture; with `pretrained` an architecture stands for its default weights, `resnet50.*` for all
        of its tags.
    checkpoints
        Folder of local checkpoints: sub-folders in timm's `local-dir:` layout, or weight files called
        `<architecture>.safetensors` or `<architecture>__<anything>.safetensors` (also .pth, .pt, .bin,
        .pth.tar).
    pretrained
        Use timm's pretrained weights, fetched from its hub when a model's turn comes.

    Returns
    -------
    list of model sources
        Nothing is loaded yet; each model once, in the order of the patterns. A checkpoint whose name is no
        timm architecture fails when its turn comes where a pattern selects it, at once where it is named.

    Raises
    ------
    UnknownName
        A name or pattern selects nothing; the nearest names are given.
    ArgumentError
        Neither or both of `checkpoints` and `pretrained` are given, or the folder holds no checkpoint.
    """
    if (checkpoints is None) != bool(pretrained):
        _refuse_weights("timm models", both=pretrained)
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if checkpoints is not None:
        found = find_checkpoints(checkpoints)
        chosen = [c for pattern in wanted for c in _matching(pattern, found, checkpoints)]
        named = {*wanted} & {name for c in chosen for name in (c.model_id, c.architecture)}
        return [_source(c, named) for c in dict.fromkeys(chosen)]
    names = [name for pattern in wanted for name in _pretrained_names(pattern)]
    return [TimmModel(name, pretrained=True) for name in dict.fromkeys(names)]


def require_architecture(name: str, where: str = "") -> None:
    """Refuse a name that timm does not know.

    Raises
    ------
    UnknownName
        The architecture, or the tag where one is given; the nearest names and `where` are told.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise UnknownName.of("timm model", architecture, timm.list_models(), where)
    tags = [tagged.partition(".")[2] for tagged in timm.list_models(f"{architecture}.*", include_tags=True)]
    if tag and tag not in tags:
        raise UnknownName.of(f"tag of timm model {architecture}", tag, tags, where)


def tagged_name(name: str) -> str:
    """Return a timm name with the tag of its default weights where it has none of its own."""
    import timm

    config = timm.get_pretrained_cfg(name)
    tag = getattr(config, "tag", None)
    return name if "." in name or not tag else f"{name}.{tag}"


def _refuse_weights(what: str, *, both: bool) -> None:
    given = "both are given" if both else "neither is given, and random weights are refused"
    raise ArgumentError(
        f"{what}: pass a local checkpoint (checkpoints=FOLDER, checkpoint=PATH; --checkpoints) or "
        f"pretrained=True (--pretrained: fetches timm's weights, needs a network); {given}"
    )


def _source(checkpoint: Checkpoint, named: set[str]) -> ModelSource:
    """Return a checkpoint's source; one that only a pattern selects may fail, but not before its turn."""
    build = partial(
        TimmModel, checkpoint.architecture, checkpoint=checkpoint.path, model_id=checkpoint.model_id
    )
    if named & {checkpoint.model_id, checkpoint.architecture} or _is_known(checkpoint.architecture):
        return build()
    return LazyModel(checkpoint.model_id, build)


def _is_known(architecture: str) -> bool:
    try:
        if architecture:  # without one, config.json is read again when the model is loaded
            require_architecture(architecture)
    except UnknownName:
        return False
    return True


def _matching(pattern: str, found: Sequence[Checkpoint], folder: str | Path) -> list[Checkpoint]:
    chosen = [
        c
        for c in found
        if fnmatch.fnmatchcase(c.model_id, pattern) or fnmatch.fnmatchcase(c.architecture, pattern)
    ]
    if not chosen:
        known = sorted({name for c in found for name in (c.model_id, c.architecture) if name})
        raise UnknownName.of("checkpoint", pattern, known, f"(folder {folder})")
    return chosen


def _pretrained_names(pattern: str) -> list[str]:
    import timm

    if not any(mark in pattern for mark in "*?["):
        require_architecture(pattern)
        if not timm.is_model_pretrained(pattern):
            raise ArgumentError(
                f"timm has no pretrained weights of {pattern!r}; pass checkpoints=FOLDER with your own"
            )
        return [pattern]
    names = timm.list_models(pattern, pretrained=True, include_tags="." in pattern)
    if not names:
        raise UnknownName.of(
            "timm model pattern", pattern, timm.list_models(pretrained=True, include_tags=False)
        )
    return list(names)
