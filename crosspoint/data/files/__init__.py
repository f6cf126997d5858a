"""Files as people have them: clouds, meshes, images, HDF5, and lists of them."""
