"""Read and check data sets in the format of COCO: annotations and masks."""
