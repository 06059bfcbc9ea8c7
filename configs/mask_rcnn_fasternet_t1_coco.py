# The authors published no COCO setting for this variant: learning rate of S, drop path of ImageNet.
_base_ = './_base_/mask_rcnn_coco.py'

weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_t1-epoch.291-val_acc1.76.2180.pth'
model = dict(
    backbone=dict(arch='t1', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
