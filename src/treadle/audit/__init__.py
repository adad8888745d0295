"""Does the destination still hold what was loaded: evidence (`walk`) and judgement (`judge`)."""
