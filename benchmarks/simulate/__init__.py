"""Simulations: how often traffic is judged wrongly, and how soon rightly."""
