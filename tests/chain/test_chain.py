import pytest
import torch
from torch import nn

from layershap.explain import Chain
from nets import data, small_chain


def test_a_chain_is_callable_and_cut_anywhere():
    model = small_chain()
    images, _ = data()
    for start in range(4):
        torch.testing.assert_close(model.tail(model.features(images, stop=start), start), model(images))


@pytest.mark.parametrize("names", [["a", "a"], [""], []])
def test_names_are_unique_and_not_empty(names):
    with pytest.raises(ValueError, match="layer"):
        Chain([(name, nn.Identity()) for name in names], nn.Identity())
