"""Models that a user's own functions return: `module:function` as a name for them."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from dissensus.errors import ArgumentError, DissensusError, ModelLoadError, UnknownName

from .callables import CallableModel
from .checkpoints import one_line
from .models import LazyModel, ModelSource

if TYPE_CHECKING:
    from ..data.examples import Images

_WANTED = "a model source, a torch.nn.Module, a callable batch -> (B, C), or a list of model sources"


def python_models(
    names: str | Iterable[str],
    *,
    preprocess: Callable[[Images], Any] | None = None,
    kind: str | None = None,
) -> list[ModelSource]:
    """Return the models that functions return.

    Parameters
    ----------
    names
        `module:function`, one or several. Each function is called once, now, without arguments, and returns a
        model source, a list of them, a `torch.nn.Module`, or a callable batch -> (B, C); the last two are
        called by the function's name. A zoo returns `LazyModel`s, whose weights are read when their turn
        comes.
    preprocess
        Of modules and callables; model sources have their own.
    kind
        What modules and callables return, `"logits"` (the default) or `"probabilities"`.

    Returns
    -------
    list of model sources
        A function that raises, or returns something else, stands in it by its name, as a model that fails
        when its turn comes; the others go on.

    Raises
    ------
    ArgumentError, UnknownName
        A name is not of this form, there is no such module or function, or it cannot be called; or
        `preprocess` or `kind` is given for a function that returns model sources.
    """
    given = [names] if isinstance(names, str) else list(names)
    functions = {name: find_function(name) for name in given}
    options = {"preprocess": preprocess, "kind": kind}
    return [
        source
        for name, function in functions.items()
        for source in _call(name, function, {k: v for k, v in options.items() if v is not None})
    ]


def find_function(name: str) -> Callable[[], Any]:
    """Return the function that `module:function` names.

    Raises
    ------
    ArgumentError, UnknownName
        As of `python_models`.
    ModelLoadError
        Importing the module fails.
    """
    module_name, colon, attribute = name.partition(":")
    parts = [*module_name.split("."), *attribute.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise ArgumentError(f"python models are named module:function, got {name!r}; for example zoo:resnets")
    module = _import(module_name, name)
    try:
        function = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        known = [name for name, entry in vars(module).items() if callable(entry) and name[0] != "_"]
        raise UnknownName.of("function", attribute, known, f"(of module {module_name})") from error
    if not callable(function):
        raise ArgumentError(f"{name} must be a function, it is {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _import(module_name: str, name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise ArgumentError(
                f"no module {error.name!r} for {name!r}; it must be installed, or a file in the current "
                "folder"
            ) from error
        raise ModelLoadError(f"importing {module_name} fails: {one_line(error)}; install it") from error
    except Exception as error:  # runs the user's code
        raise ModelLoadError(
            f"importing {module_name} fails: {type(error).__name__}: {one_line(error)}"
        ) from error


def _call(name: str, function: Callable[[], Any], options: dict[str, Any]) -> list[ModelSource]:
    try:
        returned = function()
    except Exception as error:  # runs the user's code
        text = (
            str(error) if isinstance(error, DissensusError) else f"{type(error).__name__}: {one_line(error)}"
        )
        return [_failing(name, f"{name} raises {text}")]
    if isinstance(returned, ModelSource) or _are_sources(returned):
        if options:
            raise ArgumentError(
                f"{' and '.join(options)} must not be given for {name}: it returns model sources, which have "
                "their own"
            )
        return [returned] if isinstance(returned, ModelSource) else list(returned)
    source = _wrapped(name.rpartition(":")[2], returned, options)
    return [source or _failing(name, f"{name} must return {_WANTED}; it returned {_told(returned)}")]


def _are_sources(returned: object) -> bool:
    is_list = isinstance(returned, list | tuple) and len(returned) > 0
    return is_list and all(isinstance(entry, ModelSource) for entry in returned)  # type: ignore[attr-defined]


def _wrapped(model_id: str, returned: Any, options: dict[str, Any]) -> ModelSource | None:
    import torch

    metadata = {"source": "python"}
    if isinstance(returned, torch.nn.Module):
        from .torch_models import TorchModel

        return TorchModel(model_id, returned, metadata=metadata, **options)
    if callable(returned) and not isinstance(returned, type):
        return CallableModel(model_id, returned, metadata=metadata, **options)
    return None


def _told(returned: object) -> str:
    if isinstance(returned, list | tuple):
        kinds = sorted({type(entry).__name__ for entry in returned if not isinstance(entry, ModelSource)})
        return f"a {type(returned).__name__} with {', '.join(kinds)} in it" if returned else "an empty list"
    return "nothing" if returned is None else f"a {type(returned).__name__}"


def _failing(name: str, reason: str) -> ModelSource:
    """Return a model that fails with this reason when its turn comes, in whatever process."""
    return LazyModel(name, partial(_fail, reason))


def _fail(reason: str) -> ModelSource:
    raise ModelLoadError(reason)
