# What all detectors with FasterNet-T0 share: the authors' ImageNet weights, and the channels of the neck's inputs.
# A config takes it over with `_base_.pop`, so that no second copy of it stays in the resolved config.
weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_t0-epoch.281-val_acc1.71.9180.pth'
detector = dict(
    backbone=dict(arch='t0', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[40, 80, 160, 320]),
)
