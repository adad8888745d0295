"""What is wrong around treadle: measured at the rim (`probe`), judged as values (`judge`)."""
