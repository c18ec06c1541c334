"""The admin side of the router: who may do what."""
