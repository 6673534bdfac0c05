"""The suite uses the plugin that users' suites get by installing the package."""

import sys

_PLUGIN = "toolstack.pytest_plugin"
# An installed package's entry point has loaded it already; pytest would refuse the same plugin under a second name.
pytest_plugins = ["pytester", *([] if _PLUGIN in sys.modules else [_PLUGIN])]
