"""Vertex AI: one model with versions, one endpoint, and a deployed model for every release."""
