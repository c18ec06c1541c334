"""What the prediction log says of shadows: how far their answers are from those they mirror."""
