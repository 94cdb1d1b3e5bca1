"""Shared parts of the experiments. Scripts import this package before all else: torch and
matplotlib read what it sets in the environment when they are imported."""

import os
import sys

if sys.version_info < (3, 10):  # noqa: UP036 (whoever starts a script may have an older one)
    sys.exit(f"error: this is Python {sys.version.split()[0]}; the scripts need 3.10 or newer")

# How long threads wait awake for the others. GNU OpenMP's default, 300,000 rounds, makes a step
# 20 times slower where another process keeps a core busy; 20,000 are as fast where none does. The
# OpenMP of Intel and LLVM (macOS, Windows) counts in milliseconds; its default is 200.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"} & set(os.environ):
    os.environ.update(GOMP_SPINCOUNT="20000", KMP_BLOCKTIME="1")
os.environ["MPLBACKEND"] = "agg"  # notebooks export their own, which a script cannot use
os.environ["MATPLOTLIBRC"] = os.devnull  # figures are the same whatever the user's file says
