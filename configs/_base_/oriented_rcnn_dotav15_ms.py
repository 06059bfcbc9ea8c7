# Tiles cut from the images at 0.5, 1.0 and 1.5 times their size: `tools/split_dota.py --multi-scale`.
_base_ = './oriented_rcnn_dotav15.py'

dataset = dict(data_root='data/split_ms_dota1_5/')
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
