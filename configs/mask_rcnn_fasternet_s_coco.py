_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/fasternet_s.py']

model = _base_.pop('detector')
model.backbone.drop_path_rate = 0.15
