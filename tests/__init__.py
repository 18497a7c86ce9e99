"""The tests. A package with a file of its own: a library that is tried here installs one too."""
