"""From choices to a program: order, lifetimes, the arena, packed constants."""
