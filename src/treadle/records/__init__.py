"""Request bodies: decoding, validation, limits, and the batches of messages that they become."""
