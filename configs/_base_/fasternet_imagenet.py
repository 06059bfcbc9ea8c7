# ImageNet-1k, the recipe of the FasterNet paper: 300 epochs, AdamW, batch 4096, CutMix and MixUp, training at 192² for
# 280 epochs and at 224² for the last 20. As in the authors' code, weight decay also applies to norms and biases. The
# authors train in 16-bit mixed precision; these configs do so with --amp.
_base_ = [
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    'mmpretrain::_base_/default_runtime.py',
]

custom_imports = dict(imports=['mmfasternet'], allow_failed_imports=False)

model = dict(
    type='ImageClassifier',
    backbone=dict(type='FasterNet', out_indices=(3,), output_norm=False),
    head=dict(
        type='FasterNetClsHead',
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    # each batch uses one of the two
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.3), dict(type='CutMix', alpha=1.0)]),
)

# timm's rand-m7-mstd0.5-inc1, which fills empty areas with the mean colour rounded to integers
rand_augment = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=7,
    magnitude_std=0.5,
    hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
)
crop = dict(type='RandomResizedCrop', scale=192, backend='pillow', interpolation='bicubic')
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
train_pipeline = [dict(type='LoadImageFromFile'), crop, flip, rand_augment, dict(type='PackInputs')]
last_epochs_pipeline = [dict(type='LoadImageFromFile'), {**crop, 'scale': 224}, *train_pipeline[2:]]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # the crop is 0.9 of the side
    dict(type='ResizeEdge', scale=248, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, drop_last=True, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
custom_hooks = [
    dict(type='SwitchRecipeHook', schedule=[dict(action_epoch=281, train_pipeline=last_epochs_pipeline)]),
]

optim_wrapper = dict(_delete_=True, type='OptimWrapper', optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.03))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 4e-3, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=20, end=300),
]
auto_scale_lr = dict(base_batch_size=4096)
