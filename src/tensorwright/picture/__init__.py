"""A plan as one HTML page: when its steps run, what lies where, and what each step was chosen from."""
