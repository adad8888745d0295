"""The work of `treadle doctor`, `treadle audit` and `treadle replay`, beside a server or alone."""
