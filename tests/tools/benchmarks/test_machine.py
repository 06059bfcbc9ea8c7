import pytest
import torch

from benchmarks.machine import describe, has_bfloat16, peak_operations, peaks, set_up
from mmfasternet.errors import ConfigError


def test_the_machine_is_described():
    machine = describe('cpu')
    assert machine['processor'] and machine['gpu'] is None and machine['cores'] >= 1
    assert machine['versions']['torch'] == torch.__version__.split('+')[0]
    assert machine['threads'] == torch.get_num_threads()


def test_operations_compute_what_they_count():
    operations = peak_operations('cpu')
    assert {operation.dtype for operation in operations.values()} >= {'float32'}
    assert ('bfloat16' in {operation.dtype for operation in operations.values()}) == has_bfloat16('cpu')
    kinds = [operation.kind for operation in operations.values()]
    assert kinds.count('convolution') >= 5 and kinds.count('matrix product') >= 2
    operation = operations['convolution float32 3x3, 64 to 64 channels, 112x112']
    assert operation.run().shape == (1, 64, 112, 112)
    assert operation.flops == 2 * 9 * 64 * 64 * 112 * 112


def test_the_best_of_a_kind_is_the_peak():
    operations = {
        name: operation
        for name, operation in peak_operations('cpu').items()
        if name.startswith('matrix product float32') or name == 'convolution float32 1x1, 256 to 512 channels, 56x56'
    }
    large, small = 'matrix product float32 2048x2048', 'matrix product float32 1024x1024'
    times = {name: [1.0, 1.0, 1.0] for name in operations} | {large: [8.0, 9.0, 9.0], small: [1.0, 1.0, 20.0]}
    convolution, product = peaks(operations, times)
    # 8 times the work in 9 times the time
    assert product['shape'] == '1024x1024' and product['times'] == [1.0, 1.0, 20.0] and 'run' not in product
    assert convolution['kind'] == 'convolution' and convolution['flops'] == 2 * 256 * 512 * 56**2


def test_a_missing_device_is_reported():
    with pytest.raises(ConfigError, match='device cuda:99 cannot be used: '):
        set_up('cuda:99', None)
