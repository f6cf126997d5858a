"""Random changes of clouds and images, a batch at a time, drawn from a generator that a run keeps."""
