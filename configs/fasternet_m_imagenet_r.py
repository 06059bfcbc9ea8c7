_base_ = ['./fasternet_m_imagenet.py', './_base_/imagenet_r.py']

test_dataloader = dict(dataset=dict(**_base_.imagenet_r, pipeline=_base_.test_pipeline))
test_evaluator = _base_.subset_accuracy
