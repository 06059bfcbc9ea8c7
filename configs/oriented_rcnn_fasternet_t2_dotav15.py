_base_ = ['./_base_/oriented_rcnn_dotav15.py', './_base_/fasternet_t2.py']

model = _base_.pop('detector')
