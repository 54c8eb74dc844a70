"""Side-by-side measurements against peers; each module prints progress to stderr and one JSON object at the end."""
