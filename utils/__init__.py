"""Shared parts of the experiments. Importing them changes nothing for others in the process."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 (whoever starts a script may have an older one)
    sys.exit(f"error: this is Python {sys.version.split()[0]}; the scripts need 3.10 or newer")
