"""Canaries at work: started and ended by people, moved step by step by the controller."""
