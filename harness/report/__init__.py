"""What people and programs read of a comparison: terminal, Markdown, JSON; and one answer in full."""
