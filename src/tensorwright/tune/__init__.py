"""The search for the fastest kernel of every region: timer, cache, selection of layouts and tactics."""
