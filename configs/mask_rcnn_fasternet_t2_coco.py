# The authors published no COCO setting for this variant: learning rate of S, drop path of ImageNet.
_base_ = './_base_/mask_rcnn_coco.py'

weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_t2-epoch.289-val_acc1.78.8860.pth'
model = dict(
    backbone=dict(arch='t2', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
