"""TensorRT's vocabulary in snake_case: checks what users say and hands it to the floors below. No arithmetic."""
