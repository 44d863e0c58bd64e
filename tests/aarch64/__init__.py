"""Plans for AArch64, built here, and the tests of the runtime, on QEMU: ``make test-aarch64``."""
