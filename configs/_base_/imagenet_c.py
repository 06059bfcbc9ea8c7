# Testing on ImageNet-C: for a config of ImageNet-1k to take over.
imagenet_c = dict(
    _delete_=True,
    type='ImageNetC',
    data_root='data/imagenet-c',
    pipeline=[
        dict(type='LoadImageFromFile'),
        # the published images are of the size 224² already
        dict(type='CenterCrop', crop_size=224),
        dict(type='PackInputs', meta_keys=('img_path', 'corruption', 'severity')),
    ],
)
corruption_error = dict(_delete_=True, type='CorruptionError')
