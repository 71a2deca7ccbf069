"""Building a timm model and loading its weights strictly, through timm's own code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timm

from dissensus.errors import DissensusError, ModelLoadError

from .canonical import canonical_text
from .checkpoints import (
    head_size,
    input_channels,
    misfit,
    one_line,
    read_architecture,
    read_config,
    read_state,
    weights_file,
)
from .digests import state_digest, versions
from .module_predictor import ModulePredictor
from .preprocess import TimmPreprocess, data_config
from .timm_sources import require_architecture
from .torch_models import module_metadata

if TYPE_CHECKING:
    import torch

    from .timm_sources import TimmModel


def load_timm(source: TimmModel, device: torch.device) -> ModulePredictor:
    """Return the predictor of a timm model source; see `TimmModel.load`."""
    model = _build(source).eval()
    architecture = str(model.pretrained_cfg.get("architecture") or source.architecture)
    preprocess = TimmPreprocess(data_config(model, {**own_size(source, model), **source.data_config}))
    fingerprint = {
        "architecture": architecture,
        "weights": state_digest(model.state_dict()),
        "preprocessing": preprocess.describe(),
    }
    settings = settings_of(source)
    if settings:
        fingerprint["model_args"] = canonical_text(settings)
    model = model.to(device)
    metadata = {**_describe(model, architecture, preprocess, device), **source.metadata}
    if source.checkpoint is not None:
        metadata.setdefault("checkpoint", Path(source.checkpoint).resolve().name)
    n_classes = int(model.num_classes)
    return ModulePredictor(
        model, device, preprocess, fingerprint, metadata, n_classes, class_names=_class_names(model)
    )


def _class_names(model: Any) -> list[str] | None:
    """Return the names that the weights' configuration gives the outputs, None where it gives none."""
    names = model.pretrained_cfg.get("label_names")
    return list(map(str, names)) if names and len(names) == model.num_classes else None


def own_size(source: TimmModel, model: Any) -> dict[str, Any]:
    """Return the input size that `img_size` and `in_chans` among the model's arguments ask for."""
    arguments = settings_of(source)
    channels, *usual = model.pretrained_cfg["input_size"]
    size = arguments.get("img_size") or usual
    height, width = (size, size) if isinstance(size, int) else size
    return {"input_size": (arguments.get("in_chans") or channels, height, width)}


def settings_of(source: TimmModel) -> dict[str, Any]:
    """Return the arguments the model is built with: those in a folder's config.json, then the user's own."""
    path = Path(source.checkpoint or "")
    config = read_config(path) if source.checkpoint is not None and path.is_dir() else {}
    nested = config.get("pretrained_cfg", {})
    top = {key: config.get(key, nested.get(key)) for key in ("num_classes", "global_pool", "pool_size")}
    known = {key: value for key, value in top.items() if value is not None}
    return {**known, **config.get("model_args", {}), **source.model_args}


def _build(source: TimmModel) -> Any:
    if source.checkpoint is None:
        return _from_hub(source)
    path = Path(source.checkpoint)
    return _from_folder(source, path) if path.is_dir() else _from_file(source, path)


def _from_file(source: TimmModel, path: Path) -> Any:
    """Build the architecture with the checkpoint's number of classes and channels, then load it strictly."""
    state = read_state(path, source.architecture)
    config = timm.get_pretrained_cfg(source.architecture)
    n_classes = head_size(state, getattr(config, "classifier", None))
    arguments = {"num_classes": n_classes, **source.model_args}
    with _translated(f"{source.architecture} cannot be built for {path}"):
        model = timm.create_model(source.architecture, pretrained=False, **arguments)
        usual, *size = model.pretrained_cfg["input_size"]
        channels = input_channels(state, model.state_dict(), model.pretrained_cfg.get("first_conv"), usual)
        if channels is not None and "in_chans" not in source.model_args:
            arguments |= {"in_chans": channels, "pretrained_cfg_overlay": {"input_size": (channels, *size)}}
            model = timm.create_model(source.architecture, pretrained=False, **arguments)
    difference = misfit(state, model.state_dict())
    if difference:
        raise ModelLoadError(
            f"checkpoint {path} does not fit architecture {source.architecture}: {difference}"
        )
    model.load_state_dict(state, strict=True)
    return model


def _from_folder(source: TimmModel, path: Path) -> Any:
    architecture = read_architecture(path)
    require_architecture(architecture)
    if source.architecture and source.architecture.partition(".")[0] != architecture.partition(".")[0]:
        raise ModelLoadError(
            f"{path / 'config.json'} names architecture {architecture}, not {source.architecture}"
        )
    with _translated(f"checkpoint {path} does not fit architecture {architecture}"):
        try:
            model = timm.create_model(f"local-dir:{path}", pretrained=True, **source.model_args)
        except Exception:
            _raise_misfit(path, architecture, source.model_args)
            raise
    _require_own_head(model, f"checkpoint {path}")
    return model


def _raise_misfit(path: Path, architecture: str, arguments: Mapping[str, Any]) -> None:
    """Name the keys and shapes in which weights and architecture differ, if that is the trouble."""
    weights = weights_file(path)
    if weights is None:
        return
    state = read_state(weights, architecture)
    model = timm.create_model(f"local-dir:{path}", pretrained=False, **arguments)
    difference = misfit(state, model.state_dict())
    if difference:
        raise ModelLoadError(f"checkpoint {weights} does not fit architecture {architecture}: {difference}")


def _from_hub(source: TimmModel) -> Any:
    remedy = "check the network and HF_HUB_OFFLINE, or pass checkpoints=FOLDER with local weights"
    with _translated(f"pretrained weights of {source.architecture} could not be loaded", remedy):
        model = timm.create_model(source.architecture, pretrained=True, **source.model_args)
    _require_own_head(model, f"pretrained weights of {source.architecture}")
    return model


def _require_own_head(model: Any, what: str) -> None:
    """Refuse a class count that is not the weights' own: timm would drop the classifier in silence."""
    stored = model.pretrained_cfg.get("num_classes")
    if stored is not None and stored != model.num_classes:
        raise ModelLoadError(
            f"{what} has a classifier of {stored} classes but the arguments ask for {model.num_classes}; "
            "its weights would be random: leave num_classes out, or correct config.json"
        )


@contextmanager
def _translated(what: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever timm, torch and the hub raise into one line, and keep their log lines off the screen."""
    logger = logging.getLogger("timm")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except DissensusError:
        raise
    except Exception as error:
        text = _first_mismatch(error)
        raise ModelLoadError(f"{what}: {text}{f'; {remedy}' if remedy else ''}") from error
    finally:
        logger.setLevel(level)


def _first_mismatch(error: BaseException) -> str:
    """Return the message on one line; of torch's long list of keys, the first entries."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and lines[0].startswith("Error(s) in loading state_dict"):
        return "; ".join(line if len(line) <= 200 else f"{line[:197]}..." for line in lines[1:3])
    return one_line(error)


def _describe(
    model: Any, architecture: str, preprocess: TimmPreprocess, device: torch.device
) -> dict[str, Any]:
    return {
        "source": "timm",
        "architecture": architecture,
        "family": type(model).__module__.rpartition(".")[2],
        **module_metadata(model, device, preprocess.config["input_size"]),
        **versions("timm"),
    }
