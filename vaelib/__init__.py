"""Variational autoencoders, exact and tested: the library of the book."""
