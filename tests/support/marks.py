"""Markers of tests, read from the source: which tests claim to prove what, without running any."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]


def marked(marker: str) -> dict[object, list[str]]:
    """For each argument of ``@pytest.mark.<marker>(...)``: the tests that carry it, by name."""
    found: defaultdict[object, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for test in _tests(ast.parse(path.read_text(encoding="utf-8"))):
            for argument in _arguments(test, marker):
                found[argument].append(f"{path.relative_to(TESTS)}::{test.name}")
    return dict(found)


def named_after(word: str) -> list[tuple[str, int]]:
    """Tests with ``<word>_<number>`` in their names: file and name, and the number."""
    return [
        (f"{path.relative_to(TESTS)}::{test.name}", int(found[1]))
        for path in sorted(TESTS.rglob("test_*.py"))
        for test in _tests(ast.parse(path.read_text(encoding="utf-8")))
        if (found := re.search(rf"_{word}_(\d+)_", test.name))
    ]


def _tests(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in module.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield node
            case _:  # what else stands in a module is no test
                continue


def _arguments(test: ast.FunctionDef | ast.AsyncFunctionDef, marker: str) -> Iterator[object]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == (
            f"pytest.mark.{marker}"
        ):
            yield from (ast.literal_eval(argument) for argument in decorator.args)
