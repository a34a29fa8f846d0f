"""The app for Streamlit Community Cloud: the same one, with the limits for strangers.

The requirements beside this file take the CPU build of torch, which is a tenth of the size.
"""

import os
import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

os.environ.setdefault("DIFFGRID_PUBLIC", "1")
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
runpy.run_path(str(ROOT / "streamlit_app.py"), run_name="__main__")
