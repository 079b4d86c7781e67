"""Imports run only downwards, and starting is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "imprint"
# a room may import rooms of a lower number, and itself
LAYERS = {
    "errors": 0,
    "findings": 1,
    "progress": 1,
    "configuration": 2,
    "executors": 2,
    "tables": 2,
    "stats": 2,
    "runs": 2,
    "formats": 3,
    "checkpoints": 3,
    "report": 3,
    "models": 3,
    "saes": 3,
    "transfer": 4,
    "mastery": 4,
    "drift": 4,
    "restoration": 4,
    "evaluation": 4,
    "forecast": 4,
    "planning": 4,
    "theory": 4,
    "lab": 5,
    "integrations": 5,
    "cli": 6,
}
# within a layer, who may still use whom
ALSO = {
    "runs": {"tables"},
    "lab": {"integrations"},
    "models": {"checkpoints"},
    "saes": {"checkpoints", "models", "report"},
}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
            if node.module == "imprint":
                names = [f"imprint.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("imprint.")}
    return found


MODULES = sorted(
    path
    for path in SOURCE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py") or path.parent != SOURCE
)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_run_downwards(path: Path) -> None:
    own = room(path)
    assert own in LAYERS, f"{own} has no place in the house"
    for other in imported(path) - {own}:
        lower = LAYERS[other] < LAYERS[own] or other in ALSO.get(own, set())
        assert lower, f"{own} imports {other}"


def test_the_rule_sees_an_upward_import(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from imprint.transfer import transfer\nfrom imprint import cli\n")
    assert imported(bad) == {"transfer", "cli"}


def loaded(code: str) -> set[str]:
    program = f"{code}\nimport sys; print(' '.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_loads_nothing_heavy() -> None:
    heavy = {"torch", "polars", "altair", "numpy", "scipy", "pydantic", "transformers"}
    assert not loaded("import imprint") & heavy


def test_help_loads_nothing_heavy() -> None:
    code = "from imprint.cli import run; run(['--help'])"
    assert not loaded(code) & {"torch", "polars", "altair", "numpy", "scipy"}


def test_public_names_are_reachable() -> None:
    import imprint

    for name in imprint.__all__:
        assert getattr(imprint, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = imprint.nonsense


def test_the_job_is_callable_however_it_was_imported() -> None:
    import imprint
    import imprint.transfer

    assert callable(imprint.transfer)
    assert callable(imprint.transfer.transfer)
