"""What is wrong with a source."""
