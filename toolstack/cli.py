"""`python launch.py`: from the command line to the exit status."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from toolstack import arguments as command_line
from toolstack import expect
from toolstack.errors import CheckpointError, ConfigError, HostError
from toolstack.images import Programs
from toolstack.log import log
from toolstack.plan import HostPlan
from toolstack.report import RunReport
from toolstack.runtime import RunOptions, Runtime, RuntimeName, load_runtime
from toolstack.stop import Stop
from toolstack.summary import summary
from toolstack.terminal import Output, Progress, Terminal, wants_colour
from toolstack.text import visible

if TYPE_CHECKING:
    from toolstack.load import Configuration

MET, UNMET, MISTAKE, STUCK, HOST_FAILED, INTERRUPTED, NOBODY_READS = 0, 1, 2, 3, 4, 130, 141
"""Exit status; 141 is the shells' for a program whose output nobody reads any more."""


@dataclass(frozen=True)
class Surroundings:
    """What tests replace."""

    find_runtime: Callable[[RuntimeName], Runtime] = load_runtime
    programs: Programs | None = None
    """Guest programs; None: those of `guests/`."""


def main(argv: list[str] | None = None, surroundings: Surroundings | None = None) -> int:
    """Run the command line `argv` (None: this process's).  Returns the exit status, and raises nothing."""
    try:
        arguments = command_line.parse(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else MISTAKE
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # who started this closed it
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open to the end
    log.configure(arguments.log_level, arguments.log_format)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _launch(arguments, surroundings or Surroundings())
    except ConfigError as error:
        _complain(*error.lines())
        return MISTAKE
    except HostError as error:
        _complain(*f"launch.py: {error}".splitlines())
        return HOST_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        _complain(f"launch.py: {_unforeseen(error)}")
        return HOST_FAILED


def _launch(arguments: Namespace, surroundings: Surroundings) -> int:
    saved, configuration = None, None
    if arguments.restore is None:
        configuration = _configuration(arguments, surroundings.programs)
        plan = configuration.plan(clock=arguments.clock, seed=arguments.seed)
    else:
        from toolstack.checkpoint import read

        saved = read(Path(arguments.restore))
        if arguments.only is not None:
            saved = saved.only(arguments.only)
        plan = saved.plan
    runtime = surroundings.find_runtime(arguments.runtime)
    stop = Stop()
    stream: TextIO = sys.stderr if arguments.json == "-" else sys.stdout
    output = Output(stream, stop)
    colour = wants_colour(stream, os.environ)
    options = RunOptions(
        timeout=arguments.timeout,
        trace_path=None if arguments.trace is None else Path(arguments.trace),
        restore=saved,
        log_level=arguments.log_level,
        log_format=arguments.log_format,
        stop=stop,
        starting=Progress(sys.stderr, time.monotonic),
    )
    terminal = Terminal(output, plan.names(), colour=colour, quiet=arguments.quiet)
    with stop.on_signals():
        try:
            report = _run(runtime, plan, options, terminal)
        except ConfigError as error:
            raise (configuration.located(error) if configuration is not None else error) from None
        unmet = expect.failures(plan.expect, report)
        for line in summary(report, unmet, colour=colour, quiet=arguments.quiet):
            output.line(line)
        if arguments.json is not None:
            _write_json(arguments.json, report, unmet)
    if output.error is not None and not isinstance(output.error, BrokenPipeError):
        raise HostError(f"cannot write the output: {output.error.strerror}")
    if report.error is not None and report.outcome != "host-error":
        raise HostError(report.error)
    return NOBODY_READS if output.error is not None else status(report, unmet)


def _configuration(arguments: Namespace, programs: Programs | None) -> "Configuration":
    from toolstack import load  # pydantic and YAML: a usage error need not wait for them

    if arguments.kernel is None:
        return load.load(arguments.config, programs)
    options = {name: getattr(arguments, name) for name in ("kernel", "type", "cmdline", "memory", "ramdisk")}
    return load.from_options(options, programs)


def _run(runtime: Runtime, plan: HostPlan, options: RunOptions, terminal: Terminal) -> RunReport:
    try:
        return runtime.run(plan, options, terminal)
    except (ConfigError, CheckpointError):
        raise
    except KeyboardInterrupt:  # the second Ctrl-C
        return RunReport(plan.name, "interrupted", {})
    except HostError as error:
        return RunReport(plan.name, "host-error", {}, error=str(error))
    except Exception as error:
        return RunReport(plan.name, "host-error", {}, error=_unforeseen(error))


def _unforeseen(error: Exception) -> str:
    """One line about a fault of ours; its traceback goes to the log, for who asks for it."""
    log.debug("unforeseen", exc_info=error)
    hint = "" if log.shows("debug") else " (--log-level debug shows where)"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{hint}"


def status(report: RunReport, unmet: Sequence[str]) -> int:
    """The exit status for a run.  A run that did not come to its end says so before anything else."""
    match report.outcome:
        case "interrupted":
            return INTERRUPTED
        case "timeout" | "deadlock":
            return STUCK
        case "host-error":
            return HOST_FAILED
    return UNMET if unmet else MET


def _write_json(name: str, report: RunReport, unmet: Sequence[str]) -> None:
    """Write the report, whole or not at all."""
    text = json.dumps(report.to_json(unmet), indent=2) + "\n"
    try:
        if name == "-":
            sys.stdout.write(text)
            sys.stdout.flush()
            return
        path = Path(name)
        if path.exists() and not path.is_file():  # /dev/stdout, a pipe
            path.write_text(text)
            return
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        raise HostError(f"cannot write {name!r}: {error.strerror}") from error


def _complain(*lines: str) -> None:
    for line in lines:
        print(visible(line), file=sys.stderr)
