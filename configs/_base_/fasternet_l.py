# What all detectors with FasterNet-L share: the authors' ImageNet weights, and the channels of the neck's inputs.
# A config takes it over with `_base_.pop`, so that no second copy of it stays in the resolved config.
weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_l-epoch.299-val_acc1.83.5060.pth'
detector = dict(
    backbone=dict(arch='l', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
