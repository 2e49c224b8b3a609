"""A mutant whose code is gone, or whose tests are, proves nothing: the list follows the code."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_and_names_tests_that_exist(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    copy.write_text((ROOT / mutant.file).read_text())
    mutant.apply(tmp_path)
    ast.parse(copy.read_text())
    for test in mutant.killed_by:
        file, _, name = test.partition("::")
        tree = ast.parse((ROOT / file).read_text())
        assert not name or name in {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}


def test_each_mutant_has_a_name_of_its_own() -> None:
    assert [name for name, times in Counter(m.name for m in MUTANTS).items() if times > 1] == []
