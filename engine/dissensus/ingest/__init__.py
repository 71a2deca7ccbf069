"""How it gets in: example sources, model sources, and the loop that streams logits into a store.

Names are imported when first used: `import dissensus.ingest` loads neither torch nor timm.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callables import CallableModel as CallableModel
    from .create import create_from as create_from
    from .embeddings import Features as Features
    from .embeddings import feature_dim as feature_dim
    from .embeddings import feature_rows as feature_rows
    from .estimators import estimator_model as estimator_model
    from .examples import ArrayExamples as ArrayExamples
    from .examples import ExampleSource as ExampleSource
    from .examples import digits_examples as digits_examples
    from .folders import ImageFolder as ImageFolder
    from .idx import idx_examples as idx_examples
    from .imports.annotations import annotate_from_files as annotate_from_files
    from .imports.class_names import read_classes as read_classes
    from .imports.labels import LabelFile as LabelFile
    from .imports.labels import read_labels as read_labels
    from .imports.report import ImportReport as ImportReport
    from .imports.report import ImportRow as ImportRow
    from .imports.run import import_predictions as import_predictions
    from .imports.stores import create_from_files as create_from_files
    from .imports.whole import read_table as read_table
    from .models import LazyModel as LazyModel
    from .models import ModelSource as ModelSource
    from .models import Predictor as Predictor
    from .sources import open_examples as open_examples
    from .stream import InferReport as InferReport
    from .stream import ModelRun as ModelRun
    from .stream import infer as infer
    from .timm_sources import TimmModel as TimmModel
    from .timm_sources import timm_models as timm_models
    from .torch_models import TorchModel as TorchModel

_HOME = {
    "ArrayExamples": "examples",
    "CallableModel": "callables",
    "ExampleSource": "examples",
    "Features": "embeddings",
    "ImageFolder": "folders",
    "ImportReport": "imports.report",
    "ImportRow": "imports.report",
    "InferReport": "stream",
    "LabelFile": "imports.labels",
    "LazyModel": "models",
    "ModelRun": "stream",
    "ModelSource": "models",
    "Predictor": "models",
    "TimmModel": "timm_sources",
    "TorchModel": "torch_models",
    "annotate_from_files": "imports.annotations",
    "create_from": "create",
    "create_from_files": "imports.stores",
    "digits_examples": "examples",
    "estimator_model": "estimators",
    "feature_dim": "embeddings",
    "feature_rows": "embeddings",
    "idx_examples": "idx",
    "import_predictions": "imports.run",
    "infer": "stream",
    "open_examples": "sources",
    "read_classes": "imports.class_names",
    "read_labels": "imports.labels",
    "read_table": "imports.whole",
    "timm_models": "timm_sources",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
