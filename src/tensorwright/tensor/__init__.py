"""Element types, dimensions, shapes, layouts and weights: the nouns that both towers share."""
