"""How the bundled model is made; nothing in the package imports this."""
