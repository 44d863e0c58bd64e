"""Where plans run: memory, threads, streams and code loading, one folder per device."""
