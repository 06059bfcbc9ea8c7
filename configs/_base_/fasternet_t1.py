# What all detectors with FasterNet-T1 share: the authors' ImageNet weights, and the channels of the neck's inputs.
# A config takes it over with `_base_.pop`, so that no second copy of it stays in the resolved config.
weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_t1-epoch.291-val_acc1.76.2180.pth'
detector = dict(
    backbone=dict(arch='t1', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
