# T0 from scratch on the drawn data set of `tools/make_miniature.py imagenet`, in minutes on two cores: trained on crops
# of 96² and tested on 128², for 20 epochs of 1200 images in place of 300 of 1.3 million.
_base_ = './fasternet_t0_imagenet.py'

data_root = 'data/mini_imagenet'
classes = dict(
    n01443537='goldfish',
    n02165456='ladybug',
    n02317335='starfish',
    n02708093='analog clock',
    n03063599='coffee mug',
    n04507155='umbrella',
    n06794110='street sign',
    n06874185='traffic light',
    n07745940='strawberry',
    n07753592='banana',
)
max_epochs = 20
lr = 2e-3

model = dict(
    backbone=dict(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu')),
    head=dict(num_classes=len(classes)),
    train_cfg=None,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=96, crop_ratio_range=(0.3, 1.0), backend='cv2'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=142, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=128),
    dict(type='PackInputs'),
]
metainfo = dict(classes=tuple(classes.values()))
train_dataloader = dict(
    batch_size=40,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=50, num_workers=1, dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
custom_hooks = []

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=lr, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=40),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
auto_scale_lr = dict(base_batch_size=40)
randomness = dict(seed=0)
