# T0 from scratch on the drawn data set of `tools/make_miniature.py coco`, in minutes on two cores: heads slim enough
# for a CPU, anchors and pyramid levels for images of 320×256, and what lets a network learn in 650 steps: norms in
# the heads, many positive anchors and boxes, and heavier box losses.
_base_ = './mask_rcnn_fasternet_t0_coco.py'

data_root = 'data/mini_coco/'
metainfo = dict(
    classes=('traffic light', 'stop sign', 'umbrella', 'frisbee', 'kite', 'banana', 'donut', 'clock'),
)
max_epochs = 13
channels = 64
norm_cfg = dict(type='BN')

model = dict(
    backbone=dict(init_cfg=dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu', _delete_=True)),
    neck=dict(out_channels=channels, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=[4]),
        loss_bbox=dict(loss_weight=2.0),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1), out_channels=channels, finest_scale=28),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=channels,
            conv_out_channels=channels,
            fc_out_channels=256,
            norm_cfg=norm_cfg,
            num_classes=8,
            reg_class_agnostic=True,
            loss_bbox=dict(loss_weight=2.0),
        ),
        mask_roi_extractor=dict(roi_layer=dict(sampling_ratio=1), out_channels=channels, finest_scale=28),
        mask_head=dict(
            num_convs=2,
            in_channels=channels,
            conv_out_channels=channels,
            norm_cfg=norm_cfg,
            num_classes=8,
            loss_mask=dict(loss_weight=2.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(assigner=dict(pos_iou_thr=0.5), sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=48, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)),
)

resize = dict(type='Resize', scale=(320, 320), keep_ratio=True)  # the drawn images' own size
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    resize,
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    resize,
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=1.5e-3, weight_decay=0.05), clip_grad=dict(max_norm=10))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', begin=0, end=max_epochs, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=1))
visualizer = dict(line_width=2, alpha=0.4)
auto_scale_lr = dict(base_batch_size=4)
randomness = dict(seed=0)
