"""Where SQL may be written: in workers alone, as constants of a module; deploy has what creates databases and roles."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT_SQL = ("producers", "tasks", "deploy")
# They create databases and roles, or say how; `deploy/health.py` times the smallest statement there is.
EXCEPTIONS = {"deploy/logins.py", "deploy/migrate.py", "deploy/local/postgres.py", "deploy/health.py"}

_VERBS = "SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|TRUNCATE|COPY|GRANT|REVOKE|VACUUM|ANALYZE|LOCK|SET LOCAL|EXPLAIN"
_SQL = re.compile(rf"\s*({_VERBS})\s")
# What takes SQL as text, and what builds a statement.
_RUNS_TEXT = {"text", "exec_driver_sql"}
_BUILDERS = {"text", "select", "insert", "update", "delete", "union", "union_all", "exists"}
_LIBRARIES = {"sqlalchemy", "sqlmodel", "psycopg"}


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_producers_tasks_and_deploy_hold_no_sql() -> None:
    paths = [path for path in modules(*WITHOUT_SQL) if str(path.relative_to(ROOT)) not in EXCEPTIONS]
    assert len(paths) > 50
    found = [f"{path.relative_to(ROOT)}:{line}: {what}" for path in paths for line, what in statements(path.read_text())]
    assert found == [], "a statement belongs in the package of workers whose tables it reads"


def test_an_exception_is_one() -> None:
    for name in EXCEPTIONS:
        assert list(statements((ROOT / name).read_text())), f"{name} holds no SQL any more: take it off the list"


def test_sql_in_workers_is_a_constant_of_its_module() -> None:
    paths = modules("workers")
    assert len(paths) > 100
    found = [f"{path.relative_to(ROOT)}:{line}: {what}" for path in paths for line, what in unnamed(path.read_text())]
    assert found == [], "raw SQL is a constant at the top of its module, upper case, and a plain statement is select(…)"


@pytest.mark.parametrize(
    "source",
    [
        'found = connection.execute("SELECT 1 FROM job")',
        '_COUNT = "SELECT count(*) FROM job"',
        'def count(): return f"\\n  DELETE FROM {table}"',
        "from sqlalchemy import Connection, text",
        "from sqlmodel import select",
        "def run(c): c.exec_driver_sql(given)",
        "import sqlmodel",
    ],
)
def test_a_statement_outside_workers_would_be_found(source: str) -> None:
    assert list(statements(source))


@pytest.mark.parametrize(
    "source",
    [
        'def count(c): return c.execute(text("SELECT count(*) FROM job"))',
        'def count(c):\n    query = "SELECT 1 FROM job"',
        'def count(c): return c.execute(text(f"{_JOBS} LIMIT 1"))',
        'def count(c): return c.execute(text(_JOBS.format(table="job")))',
        "def count(c): return c.exec_driver_sql('VACUUM')",
        'query = "SELECT 1 FROM job"',
        'class Jobs:\n    QUERY = "SELECT 1 FROM job"',
    ],
)
def test_an_unnamed_statement_in_workers_would_be_found(source: str) -> None:
    assert list(unnamed(source))


@pytest.mark.parametrize(
    "source",
    [
        '"""SELECT names the rows."""\n_JOBS = """\nSELECT 1 FROM job\n"""\ndef f(c): return c.execute(text(_JOBS))',
        '_PLANS = {"all": "SELECT 1 FROM job"}\ndef f(c): return c.execute(text(_PLANS["all"]))',
        '_A = "SELECT 1 FROM job"\n_B = " LIMIT 1"\ndef f(c): return c.execute(text(_A + _B))',
        'def f(): return "Select a job", "WITHOUT", "UPDATED", "the DELETE key"',
    ],
)
def test_constants_and_words_are_no_finding(source: str) -> None:
    assert list(unnamed(source)) == []


def statements(source: str) -> Iterator[tuple[int, str]]:
    """Every string that is SQL, every call that runs text as SQL, and every import of what builds a statement."""
    tree = ast.parse(source)
    yield from strings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) == "exec_driver_sql":
            yield node.lineno, "exec_driver_sql"
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in _LIBRARIES:
            yield from ((node.lineno, f"imports {name.name}") for name in node.names if name.name in _BUILDERS)
        if isinstance(node, ast.Import):
            yield from ((node.lineno, f"imports {name.name}") for name in node.names if name.name.partition(".")[0] in _LIBRARIES)


def unnamed(source: str) -> Iterator[tuple[int, str]]:
    """Every string that is SQL outside a constant of the module, and every call that runs other text than such constants."""
    tree = ast.parse(source)
    for node in tree.body:
        if not is_constant(node):
            yield from strings(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in _RUNS_TEXT and node.args and not of_constants(node.args[0]):
            yield node.lineno, f"{called(node)}({ast.unparse(node.args[0])[:60]})"


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation and _SQL.match(node.value):
            yield node.lineno, " ".join(node.value.split())[:60]


def is_constant(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return bool(targets) and all(isinstance(target, ast.Name) and target.id.isupper() for target in targets)


def of_constants(node: ast.expr) -> bool:
    """Whether an argument is made of names alone: constants, or what a caller made of constants."""
    if isinstance(node, ast.BinOp):
        return of_constants(node.left) and of_constants(node.right)
    if isinstance(node, ast.IfExp):
        return of_constants(node.body) and of_constants(node.orelse)
    if isinstance(node, ast.Subscript):
        return of_constants(node.value)
    return isinstance(node, (ast.Name, ast.Attribute))


def called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
