"""The landscape of a training problem: minima, saddles, what lies between and around them."""
