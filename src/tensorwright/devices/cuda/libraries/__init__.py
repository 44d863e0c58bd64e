"""Libraries of NVIDIA that steps of a plan may call in place of a kernel, where a build was allowed to use them."""
