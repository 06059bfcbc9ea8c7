# Test settings for ImageNet-C, which a config of ImageNet-1k takes over.
imagenet_c = dict(
    _delete_=True,
    type='ImageNetC',
    data_root='data/imagenet-c',
    pipeline=[
        dict(type='LoadImageFromFile'),
        # the published images have the size 224²
        dict(type='CenterCrop', crop_size=224),
        dict(type='PackInputs', meta_keys=('img_path', 'corruption', 'severity')),
    ],
)
corruption_error = dict(_delete_=True, type='CorruptionError')
