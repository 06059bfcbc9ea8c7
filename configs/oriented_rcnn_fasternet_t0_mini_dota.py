# T0 from scratch on the drawn aerial images of `tools/make_miniature.py dota`, cut into tiles of 384 pixels that
# overlap by 160, in minutes on two cores: heads slim enough for a CPU, anchors for small objects, and what lets a
# network learn in some hundred steps: norms in the heads, many positive anchors and boxes, and heavier box losses.
_base_ = './oriented_rcnn_fasternet_t0_dota.py'

data_root = 'data/mini_dota/'
max_epochs = 9
channels = 64
norm_cfg = dict(type='BN')

model = dict(
    backbone=dict(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu', _delete_=True)),
    neck=dict(out_channels=channels, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4], ratios=[0.25, 0.5, 1.0, 2.0, 4.0]),
        loss_bbox=dict(loss_weight=2.0),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sample_num=1), out_channels=channels, finest_scale=28),
        bbox_head=dict(
            type='mmdet.ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=256,
            norm_cfg=norm_cfg,
            loss_bbox=dict(loss_weight=2.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(pos_iou_thr=0.5), sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=400, max_per_img=300, nms=dict(iou_threshold=0.7)),
        rcnn=dict(sampler=dict(num=64, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=400, max_per_img=300, nms=dict(iou_threshold=0.7)), rcnn=dict(max_per_img=200)),
)

resize = dict(type='mmdet.Resize', scale=(384, 384), keep_ratio=True)  # the tiles' own size
load_boxes = [
    dict(type='mmdet.LoadAnnotations', with_bbox=True, box_type='qbox'),
    dict(type='ConvertBoxType', box_type_mapping=dict(gt_bboxes='rbox')),
]
train_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    *load_boxes,
    resize,
    dict(type='mmdet.RandomFlip', prob=0.75, direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='mmdet.PackDetInputs'),
]
test_pipeline = [
    dict(type='mmdet.LoadImageFromFile'),
    resize,
    *load_boxes,
    dict(type='mmdet.PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_root=data_root,
        ann_file='train/annfiles/',
        data_prefix=dict(img_path='train/images/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(num_workers=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
visualizer = dict(line_width=2)
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
