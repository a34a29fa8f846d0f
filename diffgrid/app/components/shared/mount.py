"""A component of this folder: Streamlit serves its files, real ES modules."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

import streamlit as st
from streamlit.components.v2.get_bidi_component_manager import get_bidi_component_manager
from streamlit.components.v2.manifest_scanner import ComponentConfig, ComponentManifest

_PACKAGE = Path(__file__).parents[3]
_FOLDER = Path(__file__).parents[1]
_lock = Lock()


def component(name: str, html: str) -> Callable[..., Any]:
    """What mounts `NAME/NAME.js` with `NAME/NAME.css`; it takes what Streamlit's renderers take.

    An installed diffgrid declares the folder in pyproject.toml, and Streamlit finds it when it
    starts. A checkout that was never installed declares it here.
    """
    full = f"diffgrid.{name}"

    def mount(**arguments: Any) -> Any:
        manager = get_bidi_component_manager()
        with _lock:
            if manager.get_component_asset_root(full) is None:
                config = ComponentConfig(name, str(_FOLDER.relative_to(_PACKAGE)))
                manifest = ComponentManifest("diffgrid", "", [config])
                manager.register_from_manifest(manifest, _PACKAGE)
        css, js = f"{name}/{name}.css", f"{name}/{name}.js"
        return st.components.v2.component(full, html=html, css=css, js=js)(**arguments)

    return mount
