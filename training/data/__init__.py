"""Click logs: reading, cleaning, cutting into sessions, splitting, and the generated shop."""
