"""Bringing images, clouds and text into one space: the start that self-training needs."""
