"""Every way to compute an operator that is compared, by operator."""
