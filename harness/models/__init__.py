"""Models: finding their files, loading them, and the engines that score and generate."""
