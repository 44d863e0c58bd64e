"""Matrix products: register tiles, the cutting of rows and columns, Strassen's algorithm."""
