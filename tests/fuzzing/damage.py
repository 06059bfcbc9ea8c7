"""Generated damage to what is sound."""

import copy

from hypothesis import strategies as st

#: What JSON can hold and a reader may not expect.
ODD = (
    0,
    -1,
    1,
    2,
    True,
    0.5,
    -0.0,
    1e-320,
    1e308,
    2**24 + 1,
    2**64,
    10**400,
    float('nan'),
    float('inf'),
    '',
    'a\nb',
    '\0',
    '\ud800',
)

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(ODD)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(node):
    """All places in nested lists and dicts, from the outside in."""
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from places(node[key])


@st.composite
def damaged(draw, good):
    """Replace, take away or repeat a few things in nested lists and dicts."""
    content = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 4))):
        found = list(places(content))
        if not found:
            break
        node, key = draw(st.sampled_from(found))
        kind = draw(st.sampled_from(['replace', 'replace', 'remove', 'repeat']))
        if kind == 'replace':
            node[key] = draw(values)
        elif kind == 'remove':
            del node[key]
        elif isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
    return content


@st.composite
def damaged_bytes(draw, good):
    """Change some bytes, cut some out, or put some in."""
    data = bytearray(good)
    for _ in range(draw(st.integers(0, 5))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(['change', 'change', 'insert', 'cut', 'end']))
        if kind == 'change':
            data[place : place + 1] = draw(st.binary(max_size=1))
        elif kind == 'insert':
            data[place:place] = draw(st.binary(max_size=8))
        elif kind == 'cut':
            del data[place : place + draw(st.integers(1, 64))]
        else:
            del data[place:]
    return bytes(data)
