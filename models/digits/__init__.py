"""Example: which digit is this, drawn by hand on 8 by 8 pixels?"""
