# Oriented R-CNN on DOTA v1.0: le90, tiles of 1024 pixels, 8 images per step, 30 epochs on train and val together.
# Because val is trained on, its mAP only shows that training works; report the mAP of the server on test.
_base_ = 'mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py'

custom_imports = dict(imports=['mmfasternet'], allow_failed_imports=False)

model = dict(backbone=dict(_delete_=True, type='FasterNet'))

train_pipeline = [
    *_base_.train_pipeline[:-1],
    # storage tanks and roundabouts have no orientation: tiles that contain one are rotated by multiples of 90°
    dict(type='RandomRotate', prob=0.5, angle_range=180, rect_obj_labels=[9, 11]),
    _base_.train_pipeline[-1],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(ann_file='val/annfiles/', data_prefix=dict(img_path='val/images/')))
test_dataloader = val_dataloader
test_evaluator = [_base_.val_evaluator, dict(type='WholeImageDOTAMetric')]

train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 3, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', begin=0, end=30, by_epoch=True, milestones=[16, 22, 27], gamma=0.1),
]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=0.05))
auto_scale_lr = dict(enable=False, base_batch_size=8)
