"""Options that say which models to run, and the models they stand for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .grouped import option

if TYPE_CHECKING:
    from dissensus.ingest import ExampleSource, ModelSource

MODELS = "Models"
SOURCES = ("timm", "torch", "onnx", "hf", "python")


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments SOURCE and MODELS and their options to a command."""
    decorators = (
        click.argument("source", type=click.Choice(SOURCES)),
        click.argument("models", nargs=-1, required=True),
        option(
            MODELS,
            "--checkpoints",
            type=click.Path(path_type=Path),
            help="timm: folder of local checkpoints.",
        ),
        option(
            MODELS, "--pretrained", is_flag=True, help="timm: fetch pretrained weights (needs a network)."
        ),
        option(
            MODELS,
            "--preprocess",
            metavar="JSON",
            help="All but timm: a JSON file or text with input_size, mean, std, interpolation, crop_pct, "
            "crop_mode, as timm has them.  [default: pixels in 0 … 1, in the size the model states]",
        ),
        option(MODELS, "--output", help="onnx: name of the output to store, where there are several."),
        option(
            MODELS,
            "--kind",
            type=click.Choice(["logits", "probabilities"]),
            help="torch, onnx, python: what the models return.  [default: logits]",
        ),
        option(
            MODELS,
            "--class-map",
            type=click.Path(path_type=Path),
            help="For models with other classes than the data, or another order: the names of their outputs, "
            "one a line; or a JSON object or CSV file class,output.",
        ),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def model_sources(
    source: str, models: tuple[str, ...], class_map: Path | None, examples: ExampleSource, **options: Any
) -> list[ModelSource]:
    """Return the models that the options stand for, brought to the classes of the examples."""
    from dissensus.ingest import MappedModel, open_models, read_class_map

    if source == "python" and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    sources = open_models(source, models, **options)
    if class_map is None:
        return sources
    found = read_class_map(class_map, list(examples.classes))
    return [MappedModel(model, found) for model in sources]
