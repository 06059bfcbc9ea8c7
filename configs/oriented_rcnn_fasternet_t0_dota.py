_base_ = ['./_base_/oriented_rcnn_dota.py', './_base_/fasternet_t0.py']

model = _base_.pop('detector')
