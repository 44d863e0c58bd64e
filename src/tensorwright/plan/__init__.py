"""The plan: what the builder writes and the runtime reads. The only bridge between the two towers."""
