_base_ = ['./_base_/oriented_rcnn_dotav15.py', './_base_/fasternet_l.py']

model = _base_.pop('detector')
