_base_ = ['./fasternet_t0_mini_imagenet.py', './_base_/imagenet_c.py']

_base_.imagenet_c.pipeline[1].crop_size = 128
test_dataloader = dict(
    dataset={
        **_base_.imagenet_c,
        'data_root': f'{_base_.data_root}/imagenet-c',
        'metainfo': dict(classes=tuple(_base_.classes)),
    }
)
test_evaluator = _base_.corruption_error
