"""The one page that calls every stage in order."""
