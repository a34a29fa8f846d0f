"""python -m diffgrid"""

import sys

from diffgrid.cli import main

sys.exit(main())
