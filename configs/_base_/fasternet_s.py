# What all detectors with FasterNet-S share: the authors' ImageNet weights, and the channels of the neck's inputs.
# A config takes it over with `_base_.pop`, so that no second copy of it stays in the resolved config.
weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_s-epoch.299-val_acc1.81.2840.pth'
detector = dict(
    backbone=dict(arch='s', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
