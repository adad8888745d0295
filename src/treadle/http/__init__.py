"""What all that answers HTTP shares: authentication, limits of bodies, answers."""
