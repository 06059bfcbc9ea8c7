# The authors published no COCO setting for this variant: learning rate of S, drop path of ImageNet.
_base_ = ['./_base_/mask_rcnn_coco.py', './_base_/fasternet_t0.py']

model = _base_.pop('detector')
