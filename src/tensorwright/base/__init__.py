"""The ground floor: errors, logging, digests. Imports nothing from the other floors."""
