"""Programs for a team of threads: where they wait, and memory that lets them wait rarely."""
