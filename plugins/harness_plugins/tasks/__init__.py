"""Task loaders: questions from the CIA World Factbook, and your own files."""
