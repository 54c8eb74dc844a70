"""Public benchmarks: what an adaptation gained or forgot beyond the task it was made for."""
