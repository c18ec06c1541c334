"""BentoCloud: the Bento is pushed as it is, and every service of it scales by itself."""
