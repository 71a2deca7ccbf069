"""How predictions get in: running models."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .grouped import RUNS, Grouped, option
from .model_options import MODELS, model_options, model_sources
from .output import Sink, output_options
from .plan import PLAN, announce, tell_plan
from .queries import STORE

if TYPE_CHECKING:
    from dissensus import Store
    from dissensus.ingest import ExampleSource


DATA, KEPT = "Labelled data", "What the store keeps"


@click.command(cls=Grouped)
@STORE
@option(DATA, "--data", required=True, help="Labelled images: a path, a pattern or a name, see above.")
@model_options
@option(
    DATA,
    "--labels",
    type=click.Path(path_type=Path),
    help="Labels of a single IDX or .npy file, or of a dataset.",
)
@option(
    DATA,
    "--classes",
    type=click.Path(path_type=Path),
    help="All class names, one a line, for data that lacks some of them or has numbers only.",
)
@option(DATA, "--image-column", help="Hugging Face data: images.  [default: the only column of type Image]")
@option(
    DATA, "--label-column", help="Hugging Face data: classes.  [default: the only ClassLabel, or 'label']"
)
@option(DATA, "--id-column", help="Hugging Face data: distinct ids.  [default: row numbers]")
@option(
    KEPT,
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="Precision of a new store.  [default: float16]",
)
@option(
    KEPT,
    "--codec",
    type=click.Choice(["raw", "archive"]),
    help="How a new store keeps logits: as they are, or packed without loss.  [default: raw]",
)
@option(RUNS, "--batch-size", default=256, show_default=True, type=click.IntRange(min=1))
@option(
    RUNS,
    "--device",
    "--devices",
    "device",
    help="cpu, cuda, cuda:1, …, or several with commas, a process each.  [default: CUDA where there is one]",
)
@option(
    RUNS,
    "--resident",
    default=16,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most models in memory at once; fewer where half of the free memory is taken.",
)
@option(
    RUNS,
    "--workers",
    type=click.IntRange(min=0),
    help="Processes that decode images; 0 decodes in threads.  [default: for a GPU the processors, else 0]",
)
@option(
    RUNS,
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Autocast of torch models; float32 leaves them as their weights are.",
)
@option(RUNS, "--channels-last", is_flag=True, help="Memory layout that tensor cores like.")
@option(RUNS, "--compile", is_flag=True, help="Compile torch models: pays where one runs for minutes.")
@option(MODELS, "--embeddings", is_flag=True, help="Keep the features before the last layer too.")
@option(
    DATA,
    "--on-bad-image",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="Images that cannot be decoded; the store remembers which were skipped.",
)
@option(KEPT, "--restart", is_flag=True, help="Drop what was staged of unfinished models.")
@option(
    KEPT,
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait for models that another process is making, and take over what it leaves.",
)
@option(KEPT, "--replace", is_flag=True, help="Run stored models anew whose weights or preprocessing differ.")
@PLAN
@output_options
def ingest(
    store: Path,
    source: str,
    models: tuple[str, ...],
    checkpoints: Path | None,
    pretrained: bool,
    preprocess: str | None,
    output: str | None,
    kind: str | None,
    class_map: Path | None,
    data: str,
    labels: Path | None,
    classes: Path | None,
    image_column: str | None,
    label_column: str | None,
    id_column: str | None,
    dtype: str | None,
    codec: str | None,
    batch_size: int,
    device: str | None,
    resident: int,
    workers: int | None,
    precision: str,
    channels_last: bool,
    compile: bool,
    embeddings: bool,
    on_bad_image: str,
    restart: bool,
    wait: bool,
    replace: bool,
    plan: bool,
    fmt: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Run models over labelled data and stream their logits into STORE, which is made if it is not there.

    SOURCE says what MODELS are:

    \b
      timm    names or patterns; weights from --checkpoints, a folder with one sub-folder a model in timm's
              own layout (config.json, model.safetensors) or files named ARCHITECTURE.safetensors, or from
              timm's hub with --pretrained
      torch   files: TorchScript, or programs of torch.export (.pt2)
      onnx    files, run by onnxruntime
      hf      folders that transformers saved (image classifiers), or names on the hub
      python  module:function, called without arguments; returns a model source, a list of them, a torch
              module, or a callable

    Ctrl-C or a kill loses nothing: the same command goes on. A model that fails does not stop the others; it
    is reported at the end with exit status 1.

    \b
    --data is one of
      val/                           a folder of class sub-folders with images
      shards/, 'val-{000..009}.tar'  WebDataset tar files: KEY.jpg (any image) beside KEY.cls
      saved/, 'test-*.parquet'       Hugging Face data on disk (pip install 'dissensus[hf]')
      python:MODULE:FUNCTION         the map-style dataset or example source that it returns
      t10k-images-idx3-ubyte.gz      an IDX file, or a folder of them
      images.npy                     an array, with --labels
      digits                         scikit-learn's

    \b
    Examples:
      dissensus ingest my.zoo timm 'resnet*' --data val/ --pretrained
      dissensus ingest my.zoo timm '*' --data val/ --checkpoints checkpoints/ --plan
      dissensus ingest my.zoo timm '*' --data val/ --checkpoints checkpoints/
      dissensus ingest my.zoo timm '*' --data 'val-{000..009}.tar' --checkpoints checkpoints/
      dissensus ingest my.zoo onnx net.onnx --data val/ --preprocess '{"input_size": [3, 224, 224]}'
      dissensus ingest my.zoo hf vit-finetuned/ --data val/ --class-map names.txt
      dissensus ingest my.zoo python zoo:models --data val/
    """
    from dissensus.errors import ArgumentError
    from dissensus.ingest import infer, open_examples
    from dissensus.ingest.streaming.checks import choose_devices
    from dissensus.ingest.streaming.job import workers_for

    sink = Sink(fmt, out, force)
    if compile and embeddings:
        raise ArgumentError("--embeddings cannot be taken from compiled models; leave one of the two out")
    targets = choose_devices(device)  # what the user got wrong is said before a store is made
    names = None if classes is None else _lines(classes)
    if data.startswith("python:"):
        sys.path.insert(0, os.getcwd())  # modules that lie here are found, as `python -m` does it
    with redirect_stdout(sys.stderr):  # models may print; stdout is for the result
        examples = open_examples(
            data,
            labels,
            on_bad_image,  # type: ignore[arg-type]
            names,
            image_column=image_column,
            label_column=label_column,
            id_column=id_column,
        )
        sources = model_sources(
            source,
            models,
            class_map,
            examples,
            checkpoints=checkpoints,
            pretrained=pretrained,
            preprocess=preprocess,
            output=output,
            kind=kind,
        )
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "resident": min(resident, -(-len(sources) // len(targets))),
            "workers": workers_for(examples, targets) if workers is None else workers,
            "precision": precision,
            "channels_last": channels_last,
            "embeddings": embeddings,
            "restart": restart,
            "replace": replace,
        }
        planned = {**settings, "device": targets, "dtype": dtype, "codec": codec}
        place = _store(store, examples, dtype, codec) if store.exists() else store
        room = None if plan else announce(place, sources, examples, **planned)
    if plan:
        return tell_plan(sink, place, sources, examples, **planned)
    with redirect_stdout(sys.stderr):
        report = infer(
            _store(store, examples, dtype, codec),
            sources,
            examples,
            device=targets,
            compile=compile,
            wait=wait,
            plan=room,
            **settings,
        )
    rows = [{k: v for k, v in row.items() if v is not None} for row in report.to_arrow().to_pylist()]
    done, stored, failed = len(report.done), len(report.stored), len(report.failed)
    many = "" if done == 1 else "s"
    title = f"{store}: {done:,} model{many} ingested, {stored:,} there before, {failed:,} failed"
    sink.table(report.to_arrow(), title, rows)
    sys.exit(1 if report.failed else 0)


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not blank."""
    from dissensus.errors import ArgumentError

    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"classes must be a text file, one name a line; {path}: {error}") from error


def _store(path: Path, examples: ExampleSource, dtype: str | None, codec: str | None) -> Store:
    """Make the store for these examples, or open it where it is there already."""
    import dissensus as ds
    from dissensus.errors import ArgumentError, StoreExists

    if not path.exists():
        try:
            return ds.create_from(path, examples, dtype or "float16", codec or "raw")
        except StoreExists:  # another command made it meanwhile
            pass
    store: Store = ds.open(path)
    for name, wanted, there in (("dtype", dtype, store.dtype), ("codec", codec, store.codec)):
        if wanted not in (None, there):
            raise ArgumentError(
                f"{name} {wanted} was asked for, but {path} holds {there}; leave --{name} out"
            )
    return store
