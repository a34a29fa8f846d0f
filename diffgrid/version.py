"""Which version this is: pyproject.toml, `diffgrid --version` and recipes read it here."""

__version__ = "0.2.0"
