"""What is known of a folder that transformers saved before the library is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .canonical import text_digest
from .checkpoints import SUFFIXES, split_suffix
from .outline import Outline, describe_preparation
from .stated import fit_preprocess, prepared_size

if TYPE_CHECKING:
    from .hf_models import HfModel

_OWN = "preprocessor_config.json"


def outline_hf(source: HfModel) -> Outline:
    """Return the outline of a model of transformers; see `HfModel.outline`."""
    folder = Path(source.name)
    if not folder.is_dir():
        return Outline(source.model_id, "hf")
    config = _read(folder / "config.json")
    size: tuple[int, ...] | None
    name = str((config.get("architectures") or ["hf"])[0])
    if source.preprocess is not None:
        own = fit_preprocess(source.preprocess)
        size, text = prepared_size(own), describe_preparation(own)
    else:
        processor = _read(folder / _OWN)
        channels = int(config.get("num_channels") or 3)
        size, text = _size(processor, channels), _told(processor, channels)
    return Outline(
        source.model_id,
        f"hf {name}",
        f"hf {config.get('model_type', name)}",
        weights_bytes=_weights_bytes(folder),
        input_size=size,
        preparation_text=text,
        n_outputs=len(config.get("id2label") or ()) or None,
    )


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _weights_bytes(folder: Path) -> int | None:
    """Return the size of the weights in the form that transformers takes first; shards add up."""
    files = [file for file in folder.iterdir() if split_suffix(file.name)[1]]
    for suffix in SUFFIXES:
        found = [file.stat().st_size for file in files if split_suffix(file.name)[1] == suffix]
        if found:
            return sum(found)
    return None


def _size(processor: dict[str, Any], channels: int) -> tuple[int, ...] | None:
    """Return the shape that a processor makes, where its configuration says it plainly."""
    crops = processor.get("do_center_crop") and processor.get("crop_size")
    size = crops or (processor.get("do_resize", True) and processor.get("size"))
    if isinstance(size, int):
        return (channels, size, size)
    if not isinstance(size, dict) or not {"height", "width"} <= size.keys():
        return None
    return (channels, int(size["height"]), int(size["width"]))


def _told(processor: dict[str, Any], channels: int) -> str:
    """Return a short text that is the same for the same settings."""
    size = _size(processor, channels)
    name = processor.get("image_processor_type", "image processor")
    digest = text_digest(json.dumps([processor, channels], sort_keys=True))[:12]
    return f"{'' if size is None else 'x'.join(map(str, size)) + ', '}{name} #{digest}"
