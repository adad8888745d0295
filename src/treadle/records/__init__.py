"""What a client said: decoding and checking of bodies, limits, the messages themselves."""
