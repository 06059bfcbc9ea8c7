# Test settings for ImageNet-R, which a config of ImageNet-1k takes over with its own test pipeline.
imagenet_r = dict(_delete_=True, type='ImageNetR', data_root='data/imagenet-r')
subset_accuracy = dict(_delete_=True, type='SubsetAccuracy')
