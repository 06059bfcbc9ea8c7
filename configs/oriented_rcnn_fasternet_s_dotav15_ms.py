_base_ = ['./_base_/oriented_rcnn_dotav15_ms.py', './_base_/fasternet_s.py']

model = _base_.pop('detector')
