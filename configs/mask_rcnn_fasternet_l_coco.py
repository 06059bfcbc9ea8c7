_base_ = './_base_/mask_rcnn_coco.py'

weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_l-epoch.299-val_acc1.83.5060.pth'
model = dict(
    backbone=dict(arch='l', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[192, 384, 768, 1536]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
