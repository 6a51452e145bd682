"""``tinyseq``, and ``python -m tinyseq``: the command line, which Ctrl-C ends without a word."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""What shells give for a process that Ctrl-C ended."""


def main() -> int:
    """Runs the command that this process was started with; returns the exit status."""
    try:
        # Imported here: that takes long enough to be interrupted.
        from tinyseq.tools.cli import main as run

        return run()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
