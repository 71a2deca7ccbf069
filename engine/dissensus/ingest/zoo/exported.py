"""Models exported by torch to one file: TorchScript, and the programs of `torch.export`."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dissensus.errors import DissensusError, ModelLoadError

from .batching import BatchLimits
from .checkpoints import one_line
from .digests import describe_callable, file_digest
from .model_files import ModelFile
from .module_predictor import ModulePredictor, TensorBatch
from .outline import Outline, outline_of_file
from .outputs import one_output, refuse_probabilities
from .stated import UNKNOWN, InputSize, fit_preprocess, prepared_size
from .torch_models import module_metadata

if TYPE_CHECKING:
    from torch.export import ExportedProgram


@dataclass(frozen=True)
class ExportedModel(ModelFile):
    """A TorchScript file (`torch.jit.save`) or a program of `torch.export.save` as a model source.

    What a program states of its input is kept: batches are split or filled up to its fixed number of
    examples, and images are brought to its size.

    Parameters
    ----------
    path
        the file; what it holds is told by its content.
    model_id
        name in the store; by default the file's name without its ending.
    preprocess
        B decoded images -> (B, …) tensor, see `read_preprocess`; by default pixels in [0, 1], brought to the
        size that the program states.
    metadata
        stored with the model.
    kind
        `"logits"` or `"probabilities"`. By default logits; what looks like probabilities is then refused.

    Raises
    ------
    ArgumentError
        There is no such file, or `kind` is neither of the two.
    """

    def load(self, device: torch.device) -> ModulePredictor:
        """Read the file and move the model to `device`.

        Raises
        ------
        ModelLoadError
            The file is damaged, holds something else, or was exported in training mode.
        """
        path = Path(self.path)
        form = _form(path)
        with _translated(path, form):
            found = _LOADERS[form](path, device)
        preprocess = fit_preprocess(self.preprocess, found.size)
        runner = Runner(found.module, found.dtype, found.limits, self.kind is None)
        metadata = {
            "source": form,
            "file": path.name,
            **module_metadata(runner, device, prepared_size(preprocess)),
            **found.limits.describe(),
            **self.metadata,
        }
        fingerprint = {
            "architecture": form,
            "weights": file_digest(path),
            "preprocessing": describe_callable(preprocess),
        }
        return ModulePredictor(
            runner, device, preprocess, fingerprint, metadata, found.n_classes, self.kind or "logits"
        )

    def outline(self, counted: bool = True) -> Outline:
        """Return what file and `preprocess` tell: the size of the program's input stands inside it."""
        return outline_of_file(self.model_id, "torch file", [Path(self.path)], self.preprocess, TensorBatch)


class Runner(nn.Module):
    """A module that takes batches of any size in float32, and returns one output.

    Parameters
    ----------
    module
        takes `limits` examples of type `dtype` at once.
    unstated
        nobody said whether the outputs are logits: what looks like probabilities is refused.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype, limits: BatchLimits, unstated: bool) -> None:
        super().__init__()
        self.inner = module
        self._dtype, self._limits, self._unstated = dtype, limits, unstated

    @property
    def fewest_examples(self) -> int:
        """How many examples a pass computes at least, filled up or not."""
        return self._limits.low

    def forward(self, batch: torch.Tensor) -> Any:
        """Return the (B, C) output."""
        output = self._limits.run(lambda part: one_output(self.inner(part)), batch.to(self._dtype))
        if self._unstated:
            refuse_probabilities(output)
        return output


@dataclass(frozen=True)
class _Loaded:
    """A module on its device, and what its file states of its input and output."""

    module: nn.Module
    dtype: torch.dtype
    size: InputSize = UNKNOWN
    limits: BatchLimits = field(default_factory=BatchLimits)
    n_classes: int | None = None


def _form(path: Path) -> str:
    """Return what a file holds, told by the members of its archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {part for name in archive.namelist() for part in (name, name.partition("/")[2])}
    except (OSError, zipfile.BadZipFile) as error:
        raise ModelLoadError(
            f"{path} cannot be read as TorchScript or a program of torch.export: {error}; write it again "
            "with torch.jit.save or torch.export.save"
        ) from error
    if "constants.pkl" in names:
        return "torchscript"
    if "archive_format" in names or any(name.startswith("serialized_exported_program") for name in names):
        return "torch.export"
    raise ModelLoadError(
        f"{path} holds neither TorchScript nor a program of torch.export"
        f"{' but what torch.save wrote' if 'data.pkl' in names else ''}; give weights to their architecture "
        "with `ingest STORE timm … --checkpoints`, or in a function, `ingest STORE python module:function`"
    )


@contextmanager
def _translated(path: Path, form: str) -> Iterator[None]:
    """Turn what torch raises on a bad file into one line; keep its warnings of age to itself."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*torch\.jit", FutureWarning)
            warnings.filterwarnings("ignore", r".*torch\.jit", DeprecationWarning)
            yield
    except DissensusError:
        raise
    except Exception as error:  # each format fails in its own way on damaged bytes
        raise ModelLoadError(f"{path} cannot be loaded as {form}: {one_line(error)}") from error


def _load_script(path: Path, device: torch.device) -> _Loaded:
    module: nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    module.eval()
    first = next((p for p in module.parameters() if p.is_floating_point()), None)
    return _Loaded(module, torch.float32 if first is None else first.dtype)


def _load_program(path: Path, device: torch.device) -> _Loaded:
    program: ExportedProgram = torch.export.load(str(path))
    batch = _input(program, path)
    _refuse_training(program, path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    shape = [n if isinstance(n, int) else None for n in batch.shape]
    size = (shape[1], shape[2], shape[3]) if len(shape) == 4 else UNKNOWN
    return _Loaded(program.module(), batch.dtype, size, _limits(program, batch.shape[0]), _classes(program))


def _input(program: ExportedProgram, path: Path) -> Any:
    """Return the one input of a program, as a tensor without values."""
    names = list(program.graph_signature.user_inputs)
    if len(names) != 1:
        raise ModelLoadError(
            f"{path} takes {len(names)} inputs ({', '.join(map(str, names))}), one is needed"
        )
    return next(n.meta["val"] for n in program.graph.nodes if n.op == "placeholder" and n.name == names[0])


def _classes(program: ExportedProgram) -> int | None:
    """Return the columns of a program's only output, where they are fixed."""
    last = next(node for node in program.graph.nodes if node.op == "output")
    found = [node.meta["val"] for node in last.args[0] if hasattr(node, "meta")]
    shape = tuple(getattr(found[0], "shape", ())) if len(found) == 1 else ()
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None


def _limits(program: ExportedProgram, batch: int | torch.SymInt) -> BatchLimits:
    if isinstance(batch, int):
        return BatchLimits(batch, batch)
    allowed = program.range_constraints.get(batch.node.expr)
    if allowed is None:
        return BatchLimits()
    most = int(allowed.upper) if allowed.upper.is_Integer else None
    return BatchLimits(max(1, int(allowed.lower)), most)


def _refuse_training(program: ExportedProgram, path: Path) -> None:
    """Refuse a program in training mode: its numbers would hang on chance and on the rest of the batch."""
    aten = torch.ops.aten
    flags = {aten.dropout.default: 2, aten.batch_norm.default: 5}  # where the argument "training" stands
    for node in program.graph.nodes:
        place = flags.get(node.target)
        if place is not None and node.args[place] is True:
            raise ModelLoadError(
                f"{path} was exported in training mode ({node.target}); export it again after model.eval()"
            )


_LOADERS: dict[str, Callable[[Path, torch.device], _Loaded]] = {
    "torchscript": _load_script,
    "torch.export": _load_program,
}
