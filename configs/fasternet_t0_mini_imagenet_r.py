_base_ = ['./fasternet_t0_mini_imagenet.py', './_base_/imagenet_r.py']

test_dataloader = dict(
    dataset={
        **_base_.imagenet_r,
        'data_root': f'{_base_.data_root}/imagenet-r',
        'metainfo': dict(classes=tuple(_base_.classes)),
        # those of the ten that ImageNet-R has
        'folders': ('n01443537', 'n02165456', 'n02317335', 'n07745940', 'n07753592'),
        'pipeline': _base_.test_pipeline,
    },
)
test_evaluator = _base_.subset_accuracy
