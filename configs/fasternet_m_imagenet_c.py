_base_ = ['./fasternet_m_imagenet.py', './_base_/imagenet_c.py']

test_dataloader = dict(dataset=_base_.imagenet_c)
test_evaluator = _base_.corruption_error
