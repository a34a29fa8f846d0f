"""The app's own widgets and drawings: the only part of the package that knows streamlit."""
