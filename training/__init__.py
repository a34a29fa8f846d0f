"""How the bundled model is made: renderer, training, evaluation. Nothing in the package imports this."""
