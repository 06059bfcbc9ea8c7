"""ImageNet-1k, -C and -R: a folder for each class."""
