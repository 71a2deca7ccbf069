"""Which examples an expression over their columns chooses: a small grammar, evaluated by Arrow.

    expression  expression and expression, … or …, not expression, (expression), a comparison, or a column
                of true and false
    comparison  term == term (also != < <= > >=, chained: 0.2 < blur <= 0.5)
                column in (value, …), column not in (value, …), value in column-of-sets
    term        a column (in backquotes where it is no plain word), or a value
    value       'text' in quotes, a number, True, False

What is compared with a missing value is neither true nor false, and not chosen (SQL's three-valued logic).
Durations are seconds.
"""

from __future__ import annotations

import ast
import difflib
import re
import warnings
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dissensus.errors import ArgumentError, UnknownName

from .facts import Facts

LONGEST = 10_000  # characters of an expression
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`([^`]*)`""")
ALLOWED = (
    "write comparisons of columns and values (== != < <= > >= in) with and, or, not and parentheses, "
    "as in \"group == 'bird' and blur < 0.5\""
)
COMPARED: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}


def where(expression: str, facts: Facts) -> NDArray[np.bool_]:
    """Examples for which an expression holds, (N,) bool; see `Store.where`."""
    tree, names = _parsed(expression)
    try:
        chosen = _Chooser(expression, facts, names).rows(tree)
    except RecursionError as error:
        raise _refused(expression, "is nested too deeply") from error
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise _refused(expression, f"cannot be evaluated: {error}") from error
    rows = np.array(chosen.fill_null(False).to_pylist(), np.bool_)
    if not rows.any():
        raise ArgumentError(f"where {_short(expression)!r} chooses none of the {len(rows):,} examples")
    return rows


def _parsed(expression: str) -> tuple[ast.expr, Mapping[str, str]]:
    """Syntax tree, and the columns that stood in backquotes by their names in it."""
    if not isinstance(expression, str) or not expression.strip():
        raise ArgumentError(f"where must be an expression; got {expression!r:.60}: {ALLOWED}")
    if len(expression) > LONGEST:
        raise ArgumentError(f"where must have at most {LONGEST:,} characters; got {len(expression):,}")
    names: dict[str, str] = {}

    def plain(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        name = f"_column_{len(names)}_"
        names[name] = found[1]
        return name

    text = " ".join(QUOTED.sub(plain, expression).split("\n")).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes in text
            return ast.parse(text, mode="eval").body, names
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refused(expression, "is no expression", _advice(text)) from error


def _advice(text: str) -> str:
    """What people who write another language mean."""
    bare = QUOTED.sub("", text)
    if re.search(r"[^=!<>]=[^=]", bare):
        return "equality is written =="
    if re.search(r"\b(AND|OR|NOT|IN)\b", bare) or "&&" in bare or "||" in bare:
        return "and, or, not and in are written in lower case letters"
    if "<>" in bare:
        return "inequality is written !="
    return ALLOWED


def _refused(expression: str, why: str, advice: str = ALLOWED) -> ArgumentError:
    return ArgumentError(f"where {_short(expression)!r} {why}; {advice}")


class _Chooser:
    """Evaluates a syntax tree over columns; whatever is not of the grammar is refused."""

    def __init__(self, expression: str, facts: Facts, names: Mapping[str, str]) -> None:
        self._expression, self._facts, self._names = expression, facts, names

    def rows(self, node: ast.expr) -> pa.Array:
        """Where an expression holds: true, false or null."""
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return reduce(pc.and_kleene, map(self.rows, parts))
            case ast.BoolOp(values=parts):
                return reduce(pc.or_kleene, map(self.rows, parts))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return pc.invert(self.rows(part))
            case ast.Compare(left=first, ops=ops, comparators=others):
                terms = [first, *others]
                links = zip(ops, terms, others, strict=False)
                return reduce(pc.and_kleene, [self._link(*link) for link in links])
            case ast.Name():
                return self._flag(node)
        raise self._not_allowed(node)

    def _flag(self, node: ast.Name) -> pa.Array:
        name, column = self._column(node)
        if _kind(column) != "true or false":
            raise ArgumentError(
                f"where: column {name!r} holds {_kind(column)}; compare it, as in {_example(name, column)}"
            )
        return column

    def _link(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> pa.Array:
        """One comparison of a chain."""
        if isinstance(op, ast.In | ast.NotIn):
            held = self._member(left, right)
            return pc.invert(held) if isinstance(op, ast.NotIn) else held
        compare = COMPARED.get(type(op))
        columns = [self._column(side) if isinstance(side, ast.Name) else None for side in (left, right)]
        if compare is None or columns == [None, None]:
            raise self._not_allowed(left if compare else right)
        if columns[0] and columns[1]:
            return compare(*_alike(columns[0], columns[1]))
        name, column = columns[0] or columns[1]  # type: ignore[misc]
        value = _scalar(name, column, self._value(right if columns[0] else left))
        if isinstance(op, ast.Eq | ast.NotEq):
            _require_value(name, column, value)
        return compare(column, value) if columns[0] else compare(value, column)

    def _member(self, left: ast.expr, right: ast.expr) -> pa.Array:
        """A column in values, or a value in a column of sets."""
        if isinstance(left, ast.Name) and isinstance(right, ast.Tuple | ast.List | ast.Set):
            name, column = self._column(left)
            values = [_scalar(name, column, self._value(one)) for one in right.elts]
            for value in values:
                _require_value(name, column, value)
            if not values:
                raise _refused(self._expression, "has an empty list after in")
            return reduce(pc.or_kleene, [pc.equal(column, value) for value in values])
        if isinstance(right, ast.Name):
            name, column = self._column(right)
            if pa.types.is_list(column.type):
                return _has(name, column, self._value(left))
            raise ArgumentError(
                f"where: column {name!r} holds {_kind(column)}, not sets; write {_example(name, column)}"
            )
        raise _refused(self._expression, "needs a list after in", "as in \"group in ('bird', 'fish')\"")

    def _column(self, node: ast.Name) -> tuple[str, pa.Array]:
        name = self._names.get(node.id, node.id)
        if name not in self._facts:
            raise UnknownName.of("column", name, self._facts, "(text values need quotes)")
        return name, self._facts[name]

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.UnaryOp(op=ast.UAdd(), operand=ast.Constant(value=int() | float() as value)):
                return +value
        raise self._not_allowed(node)

    def _not_allowed(self, node: ast.expr) -> ArgumentError:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
            return _refused(self._expression, "has & or |", "write and, or")
        part = ast.unparse(node)
        for placeholder, name in self._names.items():
            part = part.replace(placeholder, f"`{name}`")
        return _refused(self._expression, f"has {_short(part, 40)!r}, which has no place there")


def _kind(column: pa.Array) -> str:
    """What a column holds, in words."""
    kinds = pa.types
    if kinds.is_string(column.type):
        return "text"
    if kinds.is_boolean(column.type):
        return "true or false"
    if kinds.is_integer(column.type) or kinds.is_floating(column.type):
        return "numbers"
    if kinds.is_temporal(column.type):
        return "times"
    return (
        "sets" if kinds.is_list(column.type) else "nothing" if kinds.is_null(column.type) else "other things"
    )


def _example(name: str, column: pa.Array) -> str:
    word = name if name.isidentifier() else f"`{name}`"
    held = column.drop_null()
    if _kind(column) == "sets":
        value = next((one for one in held.flatten().drop_null().to_pylist()), 0)
        return f'"{value!r} in {word}"'
    value = held[0].as_py() if len(held) else 0
    return f'"{word} == {value!r}"' if _kind(column) != "times" else f"\"{word} == '{value}'\""


def _alike(one: tuple[str, pa.Array], other: tuple[str, pa.Array]) -> tuple[pa.Array, pa.Array]:
    """Two columns that can be compared."""
    kinds = _kind(one[1]), _kind(other[1])
    if kinds[0] != kinds[1] or kinds[0] in ("sets", "nothing", "other things"):
        raise ArgumentError(
            f"where: columns {one[0]!r} ({kinds[0]}) and {other[0]!r} ({kinds[1]}) cannot be compared"
        )
    return one[1], other[1]


def _scalar(name: str, column: pa.Array, value: Any) -> pa.Scalar:
    """Turn a value into one that a column can be compared with."""
    kind = _kind(column)
    fits = {
        "text": isinstance(value, str),
        "true or false": isinstance(value, bool),
        "numbers": isinstance(value, int | float) and not isinstance(value, bool),
        "times": isinstance(value, str),
    }
    if not fits.get(kind, False):
        raise ArgumentError(
            f"where: column {name!r} holds {kind}, it cannot be compared with {_short(repr(value), 40)}; "
            f"write for example {_example(name, column)}"
        )
    try:
        if kind == "times":
            return pa.scalar(value).cast(column.type)
        return pa.scalar(value, column.type if pa.types.is_floating(column.type) else None)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise ArgumentError(f"where: {value!r:.40} is no value that column {name!r} could hold") from error


def _require_value(name: str, column: pa.Array, value: pa.Scalar) -> None:
    """Refuse a value that no example has: it is misspelt more often than meant."""
    if pc.any(pc.equal(column, value)).as_py():
        return
    there, asked = column.drop_null().unique().to_pylist(), value.as_py()
    if isinstance(asked, str):
        near = difflib.get_close_matches(asked, map(str, there), n=3, cutoff=0.5)
    elif isinstance(asked, int | float) and not isinstance(asked, bool):
        near = sorted(there, key=lambda one: abs(one - asked))[:3]
    else:
        near = []
    some = ", ".join(_short(repr(one), 40) for one in near or sorted(there)[:12]) or "none"
    more = f", … ({len(there):,} in all)" if not near and len(there) > 12 else ""
    hint = f"the nearest are {some}" if near else f"there are: {some}{more}"
    raise UnknownName(f"no example has the value {_short(repr(asked))} in column {name!r}; {hint}")


def _has(name: str, column: pa.Array, value: Any) -> pa.Array:
    """Whether the set of each example has a value; null where there is no set."""
    held = column.values
    found = _scalar(name, held, value)
    _require_value(name, held, found)
    offsets = np.array(column.offsets.to_pylist())
    hits = np.concatenate([[0], np.cumsum(pc.equal(held, found).fill_null(False).to_pylist())])
    return pa.array(hits[offsets[1:]] > hits[offsets[:-1]], mask=np.array(column.is_null().to_pylist(), bool))


def _short(text: str, most: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
