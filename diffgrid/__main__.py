"""python -m diffgrid"""

import sys

from diffgrid.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
