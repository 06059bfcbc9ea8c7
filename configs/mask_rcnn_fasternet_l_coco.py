_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/fasternet_l.py']

model = _base_.pop('detector')
optim_wrapper = dict(optimizer=dict(lr=1e-4))
