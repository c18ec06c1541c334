"""How versions take each other's place: checks, gates, promotion and the way back."""
