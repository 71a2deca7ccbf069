"""What is known of a timm model before its weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import timm
import torch

from .canonical import canonical_text
from .checkpoints import head_size, input_channels, read_config, split_suffix, weights_file
from .module_predictor import TensorBatch
from .outline import Outline, count_module, tell_config
from .preprocess import TimmPreprocess, data_config
from .timm_loading import own_size

if TYPE_CHECKING:
    from .timm_sources import TimmModel

_USUAL_SIZE = (3, 224, 224)
_SHAPING = ("num_classes", "input_size", "fixed_input_size", "pool_size", "global_pool")


@dataclass(frozen=True)
class _Recipe:
    """How timm builds a model; checkpoints of one recipe are built and counted once.

    Attributes
    ----------
    key
        Text that is the same for the same model.
    name, arguments
        Of `timm.create_model`.
    pretrained_cfg
        Of the model that it would make.
    """

    key: str
    name: str = field(compare=False)
    arguments: Mapping[str, Any] = field(compare=False)
    pretrained_cfg: Mapping[str, Any] = field(compare=False)

    def build(self) -> Any:
        """Return the model without weights."""
        with torch.device("meta"):
            return timm.create_model(self.name, pretrained=False, **self.arguments).eval().to("meta")


def outline_timm(source: TimmModel, counted: bool) -> Outline:
    """Return the outline of a timm model source; see `TimmModel.outline`."""
    recipe = _recipe(source)
    model: Any = SimpleNamespace(pretrained_cfg=recipe.pretrained_cfg)
    preprocess = TimmPreprocess(data_config(model, {**own_size(source, model), **source.data_config}))
    outline = Outline(
        source.model_id,
        f"timm {recipe.pretrained_cfg['architecture']}",
        "timm",
        weights_bytes=_file_bytes(source),
        input_size=tuple(preprocess.config["input_size"]),
        preparation_text=tell_config(preprocess.config),
        preparation=TensorBatch(preprocess),
    )
    return replace(outline, **_counted(recipe, outline.input_size)) if counted else outline


@lru_cache(maxsize=4096)
def _counted(recipe: _Recipe, input_size: tuple[int, ...]) -> dict[str, Any]:
    module = recipe.build()
    return {
        "family": f"timm {type(module).__module__.rpartition('.')[2]}",
        "embedding_dim": getattr(module, "head_hidden_size", None) or getattr(module, "num_features", None),
        "n_outputs": getattr(module, "num_classes", None),
        **count_module(module, input_size),
    }


def _recipe(source: TimmModel) -> _Recipe:
    if source.checkpoint is None:
        config = _registered(source.architecture)
        return _named(source.architecture, dict(source.model_args), config)
    path = Path(source.checkpoint)
    return _of_folder(source, path) if path.is_dir() else _of_file(source, path)


def _named(architecture: str, arguments: dict[str, Any], config: dict[str, Any]) -> _Recipe:
    shaping = [config.get(name) for name in _SHAPING]  # tags of one architecture rarely differ in these
    key = canonical_text([architecture.partition(".")[0], shaping, arguments])
    return _Recipe(key, architecture, arguments, config)


def _of_folder(source: TimmModel, path: Path) -> _Recipe:
    config = read_config(path)
    own = {"input_size": _USUAL_SIZE, **config.get("pretrained_cfg", config)}
    arguments = dict(source.model_args)
    key = canonical_text([config, arguments])
    own["architecture"] = config["architecture"]
    return _Recipe(key, f"local-dir:{path}", arguments, own)


def _of_file(source: TimmModel, path: Path) -> _Recipe:
    """Return the recipe with the classes and channels of a file, where its header tells shapes."""
    config = _registered(source.architecture)
    shapes = _shapes(path)
    n_classes = head_size(shapes, config.get("classifier"))
    arguments = {**({} if n_classes is None else {"num_classes": n_classes}), **source.model_args}
    channels, *size = config["input_size"]
    stem = _stem(_named(source.architecture, dict(arguments), dict(config))) if shapes else {}
    own = input_channels(shapes, stem, config.get("first_conv"), channels)
    if own is not None and "in_chans" not in source.model_args:
        config["input_size"] = (own, *size)
        arguments |= {"in_chans": own, "pretrained_cfg_overlay": {"input_size": (own, *size)}}
    return _named(source.architecture, arguments, config)


@lru_cache(maxsize=4096)
def _stem(recipe: _Recipe) -> dict[str, Any]:
    """Return the first convolutions of a model built for its usual channels, without values."""
    first, state = recipe.pretrained_cfg.get("first_conv"), recipe.build().state_dict()
    names = [f"{name}.weight" for name in ([first] if isinstance(first, str) else first or ())]
    return {name: state[name] for name in names if name in state}


def _registered(architecture: str) -> dict[str, Any]:
    """Return the configuration that timm has of a name, with or without a tag."""
    config: dict[str, Any] = timm.get_pretrained_cfg(architecture).to_dict()
    return {"input_size": _USUAL_SIZE, **config, "architecture": architecture}


def _shapes(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file without values; other files would have to be read."""
    if split_suffix(path.name)[1] != ".safetensors":
        return {}
    from safetensors import safe_open
    from timm.models import clean_state_dict

    with safe_open(str(path), "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return dict(clean_state_dict({name: torch.empty(s, device="meta") for name, s in shapes.items()}))


def _file_bytes(source: TimmModel) -> int | None:
    if source.checkpoint is None:
        return None
    path = Path(source.checkpoint)
    file = weights_file(path) if path.is_dir() else path
    return None if file is None else file.stat().st_size
