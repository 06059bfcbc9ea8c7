"""Data sets in the layout of COCO: their annotations and masks, and a check of both."""
