"""From mathematics to machine code: LLVM IR as text, compiled to objects, linked into one image."""
