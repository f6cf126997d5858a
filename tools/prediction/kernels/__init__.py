"""What each kernel does as a function of its sizes: its regions with their trips, its grid, what it waits for."""
