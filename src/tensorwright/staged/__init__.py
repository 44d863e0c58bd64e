"""Networks that run in stages: native programs, and what runs on the host between them."""
