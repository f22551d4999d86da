"""How a command ends: one line on standard error, an exit code, and no traceback for what a user did."""

from __future__ import annotations

import os
import sys
import threading
from typing import NoReturn

import click

OK, ANSWERED, USAGE, NOT_FOUND, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130


class NotThere(click.ClickException):
    """What was asked for does not exist."""

    exit_code = NOT_FOUND


class Unreachable(click.ClickException):
    """It exists, but does not answer."""

    exit_code = UNREACHABLE


class Misused(click.ClickException):
    """What was written on the command line or in a file cannot be."""

    exit_code = USAGE


def run_to_code(command: click.Command, arguments: list[str]) -> int:
    """Runs it and says how it ended; what went wrong is told in one line."""
    try:
        for stream in (sys.stdout, sys.stderr):
            _never_fail_to_encode(stream)
        # Not command.main(): it ends the process with 1 for a closed pipe, and writes an empty line for Ctrl-C.
        with command.make_context("micro", list(arguments)) as context:
            code = command.invoke(context)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_has_gone()
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except SystemExit as error:
        return _code_of_exit(error)
    except click.exceptions.Exit as error:
        return _flushed(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except Exception as error:
        return INTERRUPTED if _interrupted(error) else _told(error)
    return code if isinstance(code, int) else OK


def _interrupted(error: BaseException | None) -> bool:
    """Python wraps a KeyboardInterrupt that comes while a class is being made, as it is during imports."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_has_gone()
    return code


def _told(error: Exception) -> int:
    text, code = explained(error)
    try:
        sys.stdout.flush()
        sys.stderr.write(f"error: {text}\n")
    except BrokenPipeError:
        _reader_has_gone()
    return code


def explained(error: BaseException) -> tuple[str, int]:
    """One line about an error, and the exit code that it stands for."""
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return explained(error.exceptions[0])
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "micro"
        return f"{_one_line(error.format_message()).rstrip('.')} (see {path} --help)", USAGE
    if isinstance(error, click.ClickException):
        return _one_line(error.format_message()), error.exit_code
    if "micro_core.errors" in sys.modules:
        from micro_core.errors import MicroError

        if isinstance(error, MicroError):
            return _one_line(str(error)), _code_of(error)
    if isinstance(error, OSError):
        return _one_line(f"{error.filename}: {error.strerror}" if error.filename else str(error)), USAGE
    return _unexpected(error), ANSWERED


def _code_of(error: Exception) -> int:
    from micro_core import errors

    if isinstance(error, errors.ConfigurationError | errors.UnsupportedType | errors.UnsupportedContentType):
        return USAGE
    if isinstance(error, errors.NotRegistered):
        return NOT_FOUND
    if isinstance(error, errors.ServiceNotFound):
        return UNREACHABLE if isinstance(error.__cause__, errors.RegistryUnavailable) else NOT_FOUND
    if isinstance(error, errors.RPCError):
        if error.outcome is errors.Outcome.NOT_PROCESSED and error.code in (400, 415):
            return USAGE  # our own client would not send it
        answered = error.outcome is errors.Outcome.ANSWERED and error.code not in (408, 504)
        return ANSWERED if answered else UNREACHABLE
    return ANSWERED if isinstance(error, errors.DecodeError) else UNREACHABLE


def _unexpected(error: BaseException) -> str:
    if os.environ.get("MICRO_LOG", "").lower() == "debug":
        import traceback

        traceback.print_exception(error)
    return _one_line(f"this should not have happened: {type(error).__name__}: {error} (MICRO_LOG=debug shows where)")


def _one_line(text: str) -> str:
    from micro_cli.output import clean

    return clean(" ".join(text.split()))


def _never_fail_to_encode(stream: object) -> None:
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _reader_has_gone() -> int:
    """Python would complain when it flushes at its end; what is still to be written goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue
    return OK


def _code_of_exit(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else OK if error.code is None else ANSWERED


def end(code: int) -> NoReturn:
    """Ends the process; at once also where a thread still waits, for standard input for example."""
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BrokenPipeError:
            pass
        os._exit(code)
    raise SystemExit(code)
