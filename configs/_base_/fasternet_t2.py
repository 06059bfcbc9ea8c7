# What all detectors with FasterNet-T2 share: the authors' ImageNet weights, and the channels of the neck's inputs.
# A config takes it over with `_base_.pop`, so that no second copy of it stays in the resolved config.
weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_t2-epoch.289-val_acc1.78.8860.pth'
detector = dict(
    backbone=dict(arch='t2', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
