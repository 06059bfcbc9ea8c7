_base_ = './_base_/fasternet_imagenet.py'

model = dict(
    backbone=dict(arch='l'),
    head=dict(in_channels=1536),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.7), dict(type='CutMix', alpha=1.0)]),
)
optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=0.05), clip_grad=dict(max_norm=0.01))
_base_.param_scheduler[0].start_factor = 1e-6 / 2e-3
auto_scale_lr = dict(base_batch_size=2048)
