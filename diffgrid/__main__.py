"""python -m diffgrid"""

import sys

from diffgrid.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
