# Testing on ImageNet-R: for a config of ImageNet-1k to take over, with its own test pipeline.
imagenet_r = dict(_delete_=True, type='ImageNetR', data_root='data/imagenet-r')
subset_accuracy = dict(_delete_=True, type='SubsetAccuracy')
