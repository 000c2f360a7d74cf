"""Slots: the connections that a provider account allows, and the requests for them."""
