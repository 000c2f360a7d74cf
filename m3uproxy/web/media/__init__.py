"""Media resources."""
