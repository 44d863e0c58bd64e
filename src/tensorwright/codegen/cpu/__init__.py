"""CPUs: instruction sets, object code, the native entry of a network and its team of threads."""
