"""The suite uses the plugin that users' suites get by installing the package, and all processors for a whole run."""

import os
import sys

import pytest
from hypothesis import settings

# How long an example takes is the machine's affair; pytest says what is slow.
settings.register_profile("domus", deadline=None)
settings.load_profile("domus")
_PLUGIN = "toolstack.pytest_plugin"
# An installed package's entry point has loaded it already; pytest would refuse the same plugin under a second name.
pytest_plugins = ["pytester", *([] if _PLUGIN in sys.modules else [_PLUGIN])]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Have pytest-xdist, where it is there, share a run of the whole suite out to one process a processor.

    What the command line says goes before: `-n 0` is one process.  So is a selection (paths, -k, -m), which is over
    sooner than processes start, a debugger or `-s`, and `-m ray`, where Ray is shared and has the processors.
    """
    option = config.option
    here = config.pluginmanager.has_plugin("xdist") and "PYTEST_XDIST_WORKER" not in os.environ  # not one of these
    if not here or option.numprocesses is not None or option.tx:
        return
    whole = config.args_source == pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    all_marks = not any(word.startswith("-m") for word in config.invocation_params.args)
    watched = option.usepdb or option.capture == "no" or option.collectonly
    processes = len(os.sched_getaffinity(0))
    if whole and all_marks and not watched and processes > 1:
        option.numprocesses, option.dist = processes, "worksteal"
