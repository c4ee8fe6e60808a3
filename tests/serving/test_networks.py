"""Networks whose tensors are not those of their form: refused at load, whatever they look like."""

import pytest
from onnx import TensorProto, helper

from serving.encoders.runtime import check_tensors, floats, integers, load_network
from serving.errors import BundleError

NAME = "encoder.window.onnx"
WANTED = {"x": floats(3, 8), "last": integers(1), "vector": floats(2, 8)}

Shape = list[int | str] | None


def network(tensors: dict[str, tuple[int, Shape]]) -> bytes:
    """A network of these tensors, of which `vector` is its output and zeros."""
    places = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in tensors.items()]
    out = [place for place in places if place.name == "vector"]
    kind, shape = tensors["vector"]
    sizes = [size if isinstance(size, int) else 1 for size in shape or []]
    zeros = helper.make_tensor("zeros", kind, sizes, [0] * (sizes[-1] if sizes else 1))
    graph = helper.make_graph(
        [helper.make_node("Constant", [], ["vector"], value=zeros)],
        "constant",
        [place for place in places if place.name != "vector"],
        out,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


GOOD: dict[str, tuple[int, Shape]] = {
    "x": (TensorProto.FLOAT, ["B", "L", 8]),
    "last": (TensorProto.INT64, ["B"]),
    "vector": (TensorProto.FLOAT, ["B", 8]),
}


def check(tensors: dict[str, tuple[int, Shape]]) -> None:
    check_tensors(load_network(network(tensors), NAME), NAME, WANTED)


@pytest.mark.parametrize("batch", ["B", 16])
def test_axes_of_no_fixed_width_may_be_known_or_not(batch: int | str) -> None:
    check(GOOD | {"last": (TensorProto.INT64, [batch])})


@pytest.mark.parametrize(
    ("name", "found", "shown"),
    [
        ("x", (TensorProto.FLOAT, []), r"tensor\(float\) of 0 axes, expected tensor\(float\) of 3 axes, 8 wide"),
        ("x", (TensorProto.FLOAT, None), r"tensor\(float\) of 0 axes, expected"),
        ("x", (TensorProto.FLOAT16, ["B", "L", 8]), r"tensor\(float16\) of 3 axes, 8 wide, expected tensor\(float\)"),
        ("x", (TensorProto.FLOAT, ["B", 8]), r".* of 2 axes, 8 wide, expected .* of 3 axes"),
        ("x", (TensorProto.FLOAT, ["B", "L", "D"]), r".* of 3 axes, expected .* 8 wide"),
        ("last", (TensorProto.INT32, ["B"]), r"tensor\(int32\) of 1 axes, expected tensor\(int64\) of 1 axes"),
        ("last", (TensorProto.INT64, []), r"tensor\(int64\) of 0 axes"),
        ("last", (TensorProto.FLOAT, ["B"]), r"tensor\(float\) of 1 axes, expected tensor\(int64\)"),
        ("vector", (TensorProto.FLOAT, []), r"tensor\(float\) of 0 axes"),
        ("vector", (TensorProto.DOUBLE, ["B", 8]), r"tensor\(double\) of 2 axes, 8 wide"),
        ("vector", (TensorProto.FLOAT, ["B", 4]), r".* of 2 axes, 4 wide, expected tensor\(float\) of 2 axes, 8 wide"),
    ],
)
def test_a_tensor_of_another_type_rank_or_width_is_refused(name: str, found: tuple[int, Shape], shown: str) -> None:
    wanted = rf"encoder\.window\.onnx: {name} is {shown}.*; export the bundle again"
    with pytest.raises(BundleError, match=wanted):
        check(GOOD | {name: found})


@pytest.mark.parametrize("change", [{"more": (TensorProto.FLOAT, [])}, {"more": (TensorProto.INT64, ["B"])}])
def test_a_tensor_that_nobody_knows_is_refused(change: dict[str, tuple[int, Shape]]) -> None:
    with pytest.raises(BundleError, match="has the tensors last, more, vector, x, expected last, vector, x; export"):
        check(GOOD | change)
