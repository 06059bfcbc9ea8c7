_base_ = './_base_/mask_rcnn_coco.py'

weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_m-epoch.291-val_acc1.82.9620.pth'
model = dict(
    backbone=dict(arch='m', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[144, 288, 576, 1152]),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
