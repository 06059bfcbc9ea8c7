# What all detectors with FasterNet-M share: the authors' ImageNet weights, and the channels of the neck's inputs.
# A config takes it over with `_base_.pop`, so that no second copy of it stays in the resolved config.
weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_m-epoch.291-val_acc1.82.9620.pth'
detector = dict(
    backbone=dict(arch='m', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[144, 288, 576, 1152]),
)
