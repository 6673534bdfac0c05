"""What Ray has to find in the environment when it is imported.  To be imported before it.

A process that has imported Ray already keeps what it has: Ray reads these once, and half of it would find others.
"""

import os
import sys

if "ray" not in sys.modules:
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray's own default, which it would announce at each start
