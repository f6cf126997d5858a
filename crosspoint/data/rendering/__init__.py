"""Images of clouds, rendered on the fly."""
