# The authors published no COCO setting for this variant: learning rate of S, drop path of ImageNet.
_base_ = './_base_/mask_rcnn_coco.py'

weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_t0-epoch.281-val_acc1.71.9180.pth'
model = dict(
    backbone=dict(arch='t0', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[40, 80, 160, 320]),
)
