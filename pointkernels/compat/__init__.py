"""Drop-in faces with the exact signatures of other projects, one module each."""
