"""How it gets in: example sources, model sources, and the loop that streams logits into a store.

Names are imported when first used: `import dissensus.ingest` loads neither torch nor timm.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callables import CallableModel as CallableModel
    from .class_map import ClassMap as ClassMap
    from .class_map_files import read_class_map as read_class_map
    from .costs import count_gmacs as count_gmacs
    from .create import create_from as create_from
    from .embeddings import Features as Features
    from .embeddings import feature_dim as feature_dim
    from .estimators import estimator_model as estimator_model
    from .examples import ArrayExamples as ArrayExamples
    from .examples import ExampleSource as ExampleSource
    from .examples import digits_examples as digits_examples
    from .exported import ExportedModel as ExportedModel
    from .folders import ImageFolder as ImageFolder
    from .functions import python_models as python_models
    from .hf_examples import HfExamples as HfExamples
    from .hf_models import HfModel as HfModel
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
    from .mapped import MappedModel as MappedModel
    from .models import LazyModel as LazyModel
    from .models import ModelSource as ModelSource
    from .models import Predictor as Predictor
    from .named_models import open_models as open_models
    from .onnx_models import OnnxModel as OnnxModel
    from .outline import Outline as Outline
    from .outline import in_order_of_preparation as in_order_of_preparation
    from .plan import IngestPlan as IngestPlan
    from .planning import check_room as check_room
    from .planning import plan_ingest as plan_ingest
    from .report import InferReport as InferReport
    from .report import ModelRun as ModelRun
    from .sources import open_examples as open_examples
    from .stated import StatedPreprocess as StatedPreprocess
    from .stated import read_preprocess as read_preprocess
    from .stream import infer as infer
    from .tars import TarExamples as TarExamples
    from .timm_sources import TimmModel as TimmModel
    from .timm_sources import timm_models as timm_models
    from .torch_datasets import DatasetExamples as DatasetExamples
    from .torch_models import TorchModel as TorchModel

_HOME = {
    "ArrayExamples": "examples",
    "CallableModel": "callables",
    "ClassMap": "class_map",
    "DatasetExamples": "torch_datasets",
    "ExampleSource": "examples",
    "ExportedModel": "exported",
    "HfExamples": "hf_examples",
    "HfModel": "hf_models",
    "Features": "embeddings",
    "ImageFolder": "folders",
    "IngestPlan": "plan",
    "ImportReport": "imports.report",
    "ImportRow": "imports.report",
    "InferReport": "report",
    "LabelFile": "imports.labels",
    "LazyModel": "models",
    "MappedModel": "mapped",
    "ModelRun": "report",
    "ModelSource": "models",
    "OnnxModel": "onnx_models",
    "Outline": "outline",
    "Predictor": "models",
    "StatedPreprocess": "stated",
    "TarExamples": "tars",
    "TimmModel": "timm_sources",
    "TorchModel": "torch_models",
    "annotate_from_files": "imports.annotations",
    "check_room": "planning",
    "count_gmacs": "costs",
    "create_from": "create",
    "create_from_files": "imports.stores",
    "digits_examples": "examples",
    "estimator_model": "estimators",
    "feature_dim": "embeddings",
    "idx_examples": "idx",
    "import_predictions": "imports.run",
    "in_order_of_preparation": "outline",
    "infer": "stream",
    "open_examples": "sources",
    "open_models": "named_models",
    "plan_ingest": "planning",
    "python_models": "functions",
    "read_class_map": "class_map_files",
    "read_classes": "imports.class_names",
    "read_labels": "imports.labels",
    "read_preprocess": "stated",
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
