"""The app for Streamlit Community Cloud: the same one, with the limits for strangers.

The requirements beside this file take the CPU build of torch, which is a tenth of the size.
"""

import os
import sys
from pathlib import Path

from streamlit.starlette import App

ROOT = Path(__file__).parents[1]

os.environ.setdefault("DIFFGRID_PUBLIC", "1")
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

if __name__ == "__main__":
    from diffgrid.app.entry import draw

    draw()
else:
    from diffgrid.app.link_previews import routes
    from diffgrid.app.shell import open_browser

    app = App(__file__, routes=routes(), lifespan=open_browser)
