"""What treadle sends by itself: mails about problems."""
