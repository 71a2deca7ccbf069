"""How it gets in: example sources, model sources, and the loop that streams logits into a store.

Names are imported when first used: `import dissensus.ingest` loads neither torch nor timm.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.create import create_from as create_from
    from .data.examples import ArrayExamples as ArrayExamples
    from .data.examples import ExampleSource as ExampleSource
    from .data.examples import digits_examples as digits_examples
    from .data.folders import ImageFolder as ImageFolder
    from .data.hf_examples import HfExamples as HfExamples
    from .data.idx import idx_examples as idx_examples
    from .data.sources import open_examples as open_examples
    from .data.tars import TarExamples as TarExamples
    from .data.torch_datasets import DatasetExamples as DatasetExamples
    from .imports.annotations import annotate_from_files as annotate_from_files
    from .imports.class_names import read_class_order as read_class_order
    from .imports.class_names import read_classes as read_classes
    from .imports.labels import LabelFile as LabelFile
    from .imports.labels import read_labels as read_labels
    from .imports.report import ImportReport as ImportReport
    from .imports.report import ImportRow as ImportRow
    from .imports.run import import_predictions as import_predictions
    from .imports.stores import create_from_files as create_from_files
    from .imports.whole import read_table as read_table
    from .streaming.plan import IngestPlan as IngestPlan
    from .streaming.planning import check_room as check_room
    from .streaming.planning import plan_ingest as plan_ingest
    from .streaming.report import InferReport as InferReport
    from .streaming.report import ModelRun as ModelRun
    from .streaming.stream import infer as infer
    from .zoo.callables import CallableModel as CallableModel
    from .zoo.class_map import ClassMap as ClassMap
    from .zoo.class_map_files import read_class_map as read_class_map
    from .zoo.costs import count_gmacs as count_gmacs
    from .zoo.embeddings import Features as Features
    from .zoo.embeddings import feature_dim as feature_dim
    from .zoo.estimators import estimator_model as estimator_model
    from .zoo.exported import ExportedModel as ExportedModel
    from .zoo.functions import python_models as python_models
    from .zoo.hf_models import HfModel as HfModel
    from .zoo.mapped import MappedModel as MappedModel
    from .zoo.models import LazyModel as LazyModel
    from .zoo.models import ModelSource as ModelSource
    from .zoo.models import Predictor as Predictor
    from .zoo.named_models import open_models as open_models
    from .zoo.onnx_models import OnnxModel as OnnxModel
    from .zoo.outline import Outline as Outline
    from .zoo.outline import in_order_of_preparation as in_order_of_preparation
    from .zoo.stated import StatedPreprocess as StatedPreprocess
    from .zoo.stated import read_preprocess as read_preprocess
    from .zoo.timm_sources import TimmModel as TimmModel
    from .zoo.timm_sources import timm_models as timm_models
    from .zoo.torch_models import TorchModel as TorchModel

_HOME = {
    "ArrayExamples": "data.examples",
    "CallableModel": "zoo.callables",
    "ClassMap": "zoo.class_map",
    "DatasetExamples": "data.torch_datasets",
    "ExampleSource": "data.examples",
    "ExportedModel": "zoo.exported",
    "HfExamples": "data.hf_examples",
    "HfModel": "zoo.hf_models",
    "Features": "zoo.embeddings",
    "ImageFolder": "data.folders",
    "IngestPlan": "streaming.plan",
    "ImportReport": "imports.report",
    "ImportRow": "imports.report",
    "InferReport": "streaming.report",
    "LabelFile": "imports.labels",
    "LazyModel": "zoo.models",
    "MappedModel": "zoo.mapped",
    "ModelRun": "streaming.report",
    "ModelSource": "zoo.models",
    "OnnxModel": "zoo.onnx_models",
    "Outline": "zoo.outline",
    "Predictor": "zoo.models",
    "StatedPreprocess": "zoo.stated",
    "TarExamples": "data.tars",
    "TimmModel": "zoo.timm_sources",
    "TorchModel": "zoo.torch_models",
    "annotate_from_files": "imports.annotations",
    "check_room": "streaming.planning",
    "count_gmacs": "zoo.costs",
    "create_from": "data.create",
    "create_from_files": "imports.stores",
    "digits_examples": "data.examples",
    "estimator_model": "zoo.estimators",
    "feature_dim": "zoo.embeddings",
    "idx_examples": "data.idx",
    "import_predictions": "imports.run",
    "in_order_of_preparation": "zoo.outline",
    "infer": "streaming.stream",
    "open_examples": "data.sources",
    "open_models": "zoo.named_models",
    "plan_ingest": "streaming.planning",
    "python_models": "zoo.functions",
    "read_class_map": "zoo.class_map_files",
    "read_class_order": "imports.class_names",
    "read_classes": "imports.class_names",
    "read_labels": "imports.labels",
    "read_preprocess": "zoo.stated",
    "read_table": "imports.whole",
    "timm_models": "zoo.timm_sources",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
