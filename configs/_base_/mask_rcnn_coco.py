# Mask R-CNN on COCO, the 1x recipe of the FasterNet paper: batch 16, 12 epochs, AdamW, no gradient clipping. The
# learning rate is for S; the authors train M and L with half of it, and published no settings for T0 to T2.
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['mmfasternet'], allow_failed_imports=False)

model = dict(backbone=dict(_delete_=True, type='FasterNet'))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=2e-4, weight_decay=1e-4))
