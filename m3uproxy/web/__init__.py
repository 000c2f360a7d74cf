"""The HTTP side: media resources and the management API."""
