_base_ = './_base_/oriented_rcnn_dota.py'

weights = 'https://github.com/JierunChen/FasterNet/releases/download/v1.0/fasternet_s-epoch.299-val_acc1.81.2840.pth'
model = dict(
    backbone=dict(arch='s', init_cfg=dict(type='Pretrained', checkpoint=weights)),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
