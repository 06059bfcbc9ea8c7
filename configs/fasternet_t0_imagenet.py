_base_ = './_base_/fasternet_imagenet.py'

for pipeline in (_base_.train_dataloader.dataset.pipeline, _base_.custom_hooks[0].schedule[0].train_pipeline):
    del pipeline[3]  # no RandAugment
model = dict(
    backbone=dict(arch='t0'),
    head=dict(in_channels=320, act_cfg=dict(type='GELU')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.05), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.005))
