# DOTA v1.5: the images of v1.0 with new labels, which add container cranes and very small objects.
_base_ = './oriented_rcnn_dota.py'

model = dict(roi_head=dict(bbox_head=dict(num_classes=16)))
dataset = dict(type='DOTAv15Dataset', data_root='data/split_ss_dota1_5/')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
