_base_ = './_base_/fasternet_imagenet.py'

model = dict(backbone=dict(arch='s'), head=dict(in_channels=1024))
