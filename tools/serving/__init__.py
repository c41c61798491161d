"""Serving: what to deploy, and whether its flags make sense."""
