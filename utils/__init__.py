"""Shared parts of the experiments. Scripts import this package before all else: torch and
matplotlib read what it sets in the environment when they are imported."""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 (whoever starts a script may have an older one)
    sys.exit(f"error: this is Python {sys.version.split()[0]}; the scripts need 3.10 or newer")

# Threads that wait asleep: on a machine with other work, waiting awake makes a step many times
# slower. Whoever has set any of these knows better.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & set(os.environ):
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["MPLBACKEND"] = "agg"  # notebooks export their own, which a script cannot use
