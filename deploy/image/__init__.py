"""The image: how it is made of a Bento, and what runs in it first."""
