"""Data that the tests, the tutorials and the short trainings work with."""
