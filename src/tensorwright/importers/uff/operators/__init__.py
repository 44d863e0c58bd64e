"""One function for each UFF operator, named like it; its fields are the keyword parameters."""
