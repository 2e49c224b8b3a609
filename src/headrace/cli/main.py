"""The entry point of the `headrace` command: exit codes, and errors as a person should read them."""

from __future__ import annotations

import atexit
import gc
import io
import os
import sys
from typing import Final, NoReturn

from headrace.cli.exit_code import BROKEN_PIPE, DONE, FAILED, INTERRUPTED, MISUSED
from headrace.cli.version import version

_IMPORTED: Final = 500_000
"""More objects than a command's imports make; `wiring.build` lowers the threshold again."""


def main() -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 bad usage or definitions.

    Expected errors are told in a line or more on stderr, without a traceback; a bug with one, scrubbed
    of secrets.
    """
    if sys.argv[1:] in (["--version"], ["-V"]):  # before anything slow is imported
        sys.stdout.write(f"headrace {version()}\n")
        return DONE
    # What a command imports is no garbage: to look for some every 700 objects takes a seventh of its start.
    gc.set_threshold(_IMPORTED)
    # pydantic would read the metadata of all that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal shows a ?, and no traceback
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        # Help and usage errors are typer's, which would colour a pipe where FORCE_COLOR is set, as in CI.
        os.environ["_TYPER_FORCE_DISABLE_TERMINAL"] = "1"
    try:
        from headrace.cli.app import app

        app(sys.argv[1] if len(sys.argv) > 1 else None)()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else DONE if end.code is None else FAILED
    except KeyboardInterrupt:
        return _told(
            "interrupted; what was read is kept, and the next run goes on from there", code=INTERRUPTED
        )
    except BrokenPipeError:
        # The reader of a pipe left, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 (told, with its traceback when it is a bug)
        return _failed(error)
    return DONE


def run() -> NoReturn:
    """The process is `main`, and ends with it: to take apart all that a command has imported takes Python a
    quarter of a second, in which nothing happens that anybody waits for."""
    code = main()
    atexit._run_exitfuncs()  # noqa: SLF001 (traces are sent, coverage is kept)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    os._exit(code)


def _failed(error: Exception) -> int:
    from headrace.cli.problem import with_mend
    from headrace.errors import ConfigurationError, ErrorCode, HeadraceError, InvariantError

    if isinstance(error, ConfigurationError):
        return _told("\n".join(error.lines), code=MISUSED)
    if isinstance(error, HeadraceError) and not isinstance(error, InvariantError):
        return _told(f"failed: {with_mend(str(error))} [{error.code}]", code=FAILED)
    asked = f"This is a bug of Headrace; please report it with the lines above. [{ErrorCode.INTERNAL}]"
    return _told(f"{_traceback(error)}\n{asked}", code=FAILED)


def _traceback(error: Exception) -> str:
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()


def _told(text: str, *, code: int) -> int:
    from headrace.logs import scrubbed

    for line in text.splitlines():
        sys.stderr.write(scrubbed(line) + "\n")
    return code
