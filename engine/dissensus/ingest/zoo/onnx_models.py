"""ONNX files as model sources, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dissensus.errors import ArgumentError, MissingDependency, ModelLoadError, UnknownName

from .batching import BatchLimits
from .callables import OwnImages
from .checkpoints import one_line
from .digests import describe_callable, file_digest, versions
from .model_files import ModelFile
from .onnx_file import Weights, read_weights
from .outline import Outline, outline_of_file
from .outputs import refuse_probabilities
from .stated import EXAMPLE, UNKNOWN, InputSize, fit_preprocess, prepared_size, told

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..data.examples import Images

DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


@dataclass(frozen=True)
class OnnxModel(ModelFile):
    """An ONNX classifier as a model source.

    Name, type, layout and size of the input are read from the model: a fixed number of examples is filled up
    or split to, images are brought to a fixed size, channels may come last.

    Parameters
    ----------
    path
        the .onnx file; weights in files beside it are found there.
    model_id
        name in the store; by default the file's name without its ending.
    preprocess
        B decoded images -> (B, channels, H, W), see `read_preprocess`; by default pixels in [0, 1], brought
        to the size that the model states.
    output
        name of the output to store; needed where the model has several.
    metadata
        stored with the model.
    kind
        `"logits"` or `"probabilities"`. By default logits; what looks like probabilities is then refused.

    Raises
    ------
    ArgumentError
        There is no such file, or `kind` is neither of the two.
    """

    _: KW_ONLY
    output: str | None = None

    def load(self, device: torch.device) -> OnnxPredictor:
        """Open a session on `device`.

        Raises
        ------
        MissingDependency
            onnxruntime is not installed, or not for this device.
        ModelLoadError
            The file is damaged, or takes or gives something else than one batch.
        """
        path = Path(self.path)
        session = _session(path, device)
        given, output = _input(session, path), _output(session, path, self.output)
        preprocess = fit_preprocess(self.preprocess, given.size)
        size = prepared_size(preprocess)
        weights = read_weights(path)
        files = [path, *_beside(path, weights)]
        metadata = {
            "source": "onnx",
            "file": path.name,
            "params": weights.params,
            "weights_bytes": sum(file.stat().st_size for file in files),
            **({} if size is None else {"input_size": told(size)}),
            **given.limits.describe(),
            **_device(device),
            "precision": given.dtype,
            **versions("onnxruntime", "onnxruntime-gpu"),
            **self.metadata,
        }
        fingerprint = {
            "architecture": f"onnx {output.name}",
            "weights": file_digest(*files),
            "preprocessing": describe_callable(preprocess),
        }
        n_classes = output.shape[1] if len(output.shape) == 2 else None
        return OnnxPredictor(
            session,
            given,
            output.name,
            preprocess,
            fingerprint,
            metadata,
            n_classes if isinstance(n_classes, int) else None,
            self.kind or "logits",
            self.kind is None,
        )

    def outline(self, counted: bool = True) -> Outline:
        """Return what files and `preprocess` tell: the size of the model's input stands inside it."""
        path = Path(self.path)
        weights = read_weights(path)
        files = [path, *_beside(path, weights)]
        outline = outline_of_file(self.model_id, "onnx", files, self.preprocess, OwnImages)
        return replace(outline, params=weights.params)


@dataclass(frozen=True)
class OnnxInput:
    """What a session takes.

    Attributes
    ----------
    name, dtype
        Of the tensor.
    shape
        None where any size goes.
    size
        (channels, height, width) of images, None where any goes.
    channels_last
        The tensor is (B, H, W, channels).
    limits
        How many examples at once.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    size: InputSize
    channels_last: bool
    limits: BatchLimits

    def batch(self, prepared: Any) -> NDArray[Any]:
        """Return a prepared batch in the model's type and layout.

        Raises
        ------
        ArgumentError
            It is of another shape; both are named.
        """
        array = np.asarray(prepared)
        if self.channels_last and array.ndim == 4:
            array = array.transpose(0, 2, 3, 1)
        shape = array.shape[1:]
        if len(shape) != len(self.shape) - 1 or any(
            n not in (None, m) for n, m in zip(self.shape[1:], shape, strict=True)
        ):
            raise ArgumentError(
                f"the model takes examples of {told(self.shape[1:])}, preprocessing gives {told(shape)}; "
                f"say how to make one of the other with preprocess=, as --preprocess '{EXAMPLE}'"
            )
        return np.ascontiguousarray(array, dtype=self.dtype)


@dataclass(frozen=True)
class OnnxPredictor:
    """A session with its preprocessing; see `Predictor`."""

    session: Any
    input: OnnxInput
    output: str
    preprocess: Callable[[Images], Any]
    fingerprint: Mapping[str, str]
    metadata: Mapping[str, Any]
    n_classes: int | None
    kind: str
    unstated: bool

    @property
    def preparation(self) -> OwnImages:
        """What makes batches of images; equal for models with the same preprocessing."""
        return OwnImages(self.preprocess)

    def prepare(self, images: Images) -> Any:
        """Return the preprocessed batch on the host."""
        return self.preparation(images)

    def __call__(self, batch: Any) -> Any:
        """Return the (B, C) array that the model gives for a prepared batch."""
        output = self.input.limits.run(self._run, self.input.batch(batch))
        if self.unstated:
            refuse_probabilities(output)
        return output

    def _run(self, batch: NDArray[Any]) -> Any:
        try:
            return self.session.run([self.output], {self.input.name: batch})[0]
        except Exception as error:  # onnxruntime has a type of its own for each status
            raise ArgumentError(
                f"onnxruntime failed on a batch of shape {batch.shape}: {one_line(error)}; if the model "
                f"takes another size, say so with preprocess=, as --preprocess '{EXAMPLE}'"
            ) from error


def external_files(path: Path) -> list[Path]:
    """Return the files beside an ONNX file that hold weights of it, as it names them."""
    return _beside(path, read_weights(path))


def _beside(path: Path, weights: Weights) -> list[Path]:
    return [path.parent / name for name in weights.files if (path.parent / name).is_file()]


def _session(path: Path, device: torch.device) -> Any:
    import torch

    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependency(
            f"{path} needs onnxruntime; install it: pip install 'dissensus[onnx]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # its warnings are for those who made the model
    providers = _providers(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has a type of its own for each status
        raise ModelLoadError(f"{path} cannot be loaded by onnxruntime: {one_line(error)}") from error
    wanted = providers[0][0]
    if session.get_providers()[0] != wanted:
        raise MissingDependency(_no_provider(device, f"{wanted} could not start"))
    return session


def _providers(device: torch.device, available: list[str]) -> list[tuple[str, dict[str, Any]]]:
    if device.type == "cpu":
        return [("CPUExecutionProvider", {})]
    if device.type != "cuda" or "CUDAExecutionProvider" not in available:
        raise MissingDependency(_no_provider(device, f"it offers {', '.join(available)}"))
    return [("CUDAExecutionProvider", {"device_id": device.index or 0}), ("CPUExecutionProvider", {})]


def _no_provider(device: torch.device, reason: str) -> str:
    return (
        f"onnxruntime as installed cannot run on {device} ({reason}); pass device='cpu' (--device cpu), or "
        "for CUDA: pip install onnxruntime-gpu"
    )


def _device(device: torch.device) -> dict[str, str]:
    from .torch_models import device_name

    return {"device": device_name(device)}


def _input(session: Any, path: Path) -> OnnxInput:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(entry.name for entry in inputs) or "none"
        raise ModelLoadError(f"{path} takes {len(inputs)} inputs ({names}), one batch of images is needed")
    (given,) = inputs
    if given.type not in DTYPES:
        raise ModelLoadError(
            f"{path}: input {given.name!r} is {given.type}, needed {', '.join(DTYPES)}; wrap it in a "
            "function (`ingest STORE python module:function`)"
        )
    shape = tuple(n if isinstance(n, int) and n > 0 else None for n in given.shape)
    last = len(shape) == 4 and shape[3] in (1, 3) and shape[1] not in (1, 3)
    size = UNKNOWN if len(shape) != 4 else (shape[3], *shape[1:3]) if last else shape[1:]
    batch = shape[0] if shape else None
    limits = BatchLimits() if batch is None else BatchLimits(batch, batch)
    return OnnxInput(given.name, DTYPES[given.type], shape, size, last, limits)


def _output(session: Any, path: Path, wanted: str | None) -> Any:
    outputs = {entry.name: entry for entry in session.get_outputs()}
    if wanted is None and len(outputs) > 1:
        raise ModelLoadError(
            f"{path} has {len(outputs)} outputs ({', '.join(outputs)}); name the one with the logits: "
            "output= (--output)"
        )
    if wanted is not None and wanted not in outputs:
        raise UnknownName.of("output", wanted, outputs, f"(of {path})")
    return outputs[wanted or next(iter(outputs))]
