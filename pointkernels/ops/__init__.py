"""One module per operator: face, fake kernel, autograd, autocast."""
