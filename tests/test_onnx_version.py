"""Rows of onnxruntime in the benchmark."""

import onnxruntime
import pytest
import torch

import vared
from tests.method_helpers import plain_image_network, relative_difference
from vared.benchmarks.onnx_version import onnx_builder


def test_both_versions_give_the_outputs_of_torch_each_time_they_are_called():
    model, images = plain_image_network().eval(), torch.randn(3, 5, 9, 9)
    with torch.inference_mode():  # as the benchmark makes and calls its versions
        run = onnx_builder()(model, images)
        assert relative_difference(run(), model(images)) < 1e-5
        assert torch.equal(run(), run())
    dynamic = vared.convert(model, example=(5, 9, 9)).eval()
    with torch.inference_mode():
        found = onnx_builder(channel=0.5)(dynamic, images)()
        with vared.fixed_policy(dynamic, channel=0.5):
            assert relative_difference(found, dynamic(images)) < 1e-5


def test_a_version_has_the_threads_that_torch_has_when_it_is_made(monkeypatch):
    asked, session = [], onnxruntime.InferenceSession

    def spy(path, options, **settings):
        asked.append((options.intra_op_num_threads, options.inter_op_num_threads))
        return session(path, options, **settings)

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    onnx_builder()(plain_image_network().eval(), torch.randn(3, 5, 9, 9))
    assert asked and set(asked) == {(2, 1)}


@pytest.mark.parametrize(
    "images", [torch.randn(1, 5, 9, 9, dtype=torch.float64), torch.empty(1, 5, 9, 9, device="meta")]
)
def test_other_precisions_and_devices_are_refused(images):
    with pytest.raises(ValueError, match=f"not with {images.dtype} on {images.device}"):
        onnx_builder()(plain_image_network().eval(), images)
