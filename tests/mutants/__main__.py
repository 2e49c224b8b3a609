"""`python -m tests.mutants [NAME...]`: apply each mutant to a copy, run the tests that ought to kill it.

Exit 0: every mutant was killed, and the same tests pass without any. 1: one survived, or a test fails
without it. 2: no mutant has such a name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant, StaleMutantError

ROOT = Path(__file__).parents[2]
TIME_LIMIT_S = 300.0
"""A mutant that makes a test hang is killed too."""
PASSED, FAILED = 0, 1  # of pytest; others mean that it could not run the tests


def main(names: Sequence[str]) -> int:
    unknown = [name for name in names if not any(name in m.name for m in MUTANTS)]
    if unknown:
        print("no mutant has this in its name: " + ", ".join(unknown))
        return 2
    chosen = [m for m in MUTANTS if not names or any(name in m.name for name in names)]
    print(f"{len(chosen)} mutants; first their tests without any", flush=True)
    with tempfile.TemporaryDirectory(prefix="headrace-mutants-") as directory:
        copy = _copied(Path(directory))
        without = _run(copy, sorted({test for m in chosen for test in m.killed_by}))
        if without.returncode != PASSED:
            print(without.stdout[-3000:], "the tests fail without any mutant: mend that first", sep="\n")
            return 1
        survivors = [mutant for mutant in chosen if not _killed(mutant, copy)]
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants killed")
    return 1 if survivors else 0


def _copied(directory: Path) -> Path:
    """A copy of what git has of the checkout, as it is now."""
    copy = directory / "checkout"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    return copy


def _killed(mutant: Mutant, copy: Path) -> bool:
    started = time.monotonic()
    try:
        mutant.apply(copy)
        done = _run(copy, mutant.killed_by)
        code = done.returncode
        verdict = {FAILED: "killed", PASSED: "SURVIVED"}.get(code, f"NOT RUN (pytest exits {code})")
    except StaleMutantError as error:
        code, verdict = None, f"STALE ({error})"
    except subprocess.TimeoutExpired:
        code, verdict = FAILED, "killed (hangs)"
    finally:
        mutant.revert(copy, ROOT)
    print(f"{verdict:<10} {time.monotonic() - started:5.1f} s  {mutant.name}", flush=True)
    return code == FAILED


def _run(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The tests, up to the first that fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", *tests]
    environment = {**os.environ, "PYTHONPATH": f"{copy / 'src'}{os.pathsep}{copy}", "CI": "true"}
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
