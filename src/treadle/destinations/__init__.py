"""Where rows go: the contract, the registry and the back-ends."""
