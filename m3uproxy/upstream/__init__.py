"""The side of the provider: dialling, bodies, and what happens when one fails."""
