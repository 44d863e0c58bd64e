"""The null device, the example to copy: all that a device needs, without a machine."""
