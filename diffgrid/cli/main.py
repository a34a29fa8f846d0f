"""The command line: python -m diffgrid COMMAND.

Every command exits with 0, with 1 when `verify` finds damage, or with 2 and one plain line when
something it was given is not allowed.
"""

import logging
import os
import sys
from collections.abc import Sequence

from diffgrid.cli.parser import build_parser
from diffgrid.errors import DiffgridError

_NO_TRACEBACKS = logging.NullHandler()  # what the engine logs; people get its one line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    logging.getLogger("diffgrid").addHandler(_NO_TRACEBACKS)
    options = build_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except DiffgridError as error:
        print(f"diffgrid: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("diffgrid: stopped; what was computed is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
