"""The management API: routes as data, their request and response types, their description."""
