# The same drawn images with the labels of DOTA v1.5.
_base_ = './oriented_rcnn_fasternet_t0_mini_dota.py'

model = dict(roi_head=dict(bbox_head=dict(num_classes=16)))
dataset = dict(type='DOTAv15Dataset', data_root='data/mini_dotav15/')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
