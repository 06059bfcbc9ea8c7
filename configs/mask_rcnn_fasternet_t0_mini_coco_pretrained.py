# The same from the weights that `make demo-cls` leaves.
_base_ = './mask_rcnn_fasternet_t0_mini_coco.py'

weights = 'work_dirs/fasternet_t0_mini_imagenet/epoch_20.pth'
model = dict(backbone=dict(init_cfg=dict(_delete_=True, type='Pretrained', checkpoint=weights)))
