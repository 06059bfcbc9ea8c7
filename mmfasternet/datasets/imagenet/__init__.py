"""ImageNet-1k, ImageNet-C and ImageNet-R: data sets with one folder per class."""
