import sys

import pytest

from lightning_al import acquisition
from lightning_al.registry import Registry


@pytest.fixture
def shapes():
    shapes = Registry("shape")

    @shapes.register("circle")
    class Circle:
        def __init__(self, radius=1):
            self.radius = radius

    return shapes


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that offers a square, as pip would lay it out."""
    (tmp_path / "squares.py").write_text("class Square:\n    pass\n")
    metadata = tmp_path / "squares-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: squares\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[tests.shapes]\nsquare = squares:Square\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("squares", None)


def test_creates_by_name_with_arguments(shapes):
    assert shapes.create("circle", radius=3).radius == 3


def test_hands_back_an_object(shapes):
    circle = shapes.create("circle")
    assert shapes.create(circle) is circle


def test_unknown_name_raises_and_lists_the_known(shapes):
    for name in ("square", "Circle", ""):
        with pytest.raises(ValueError, match=rf"There is no {shapes.kind} named '{name}'. Choose one of: circle\."):
            shapes.create(name)


@pytest.mark.parametrize("name", ["Circle", "CIRCLE", "cir_cle", "my_package.Circle"])
def test_a_class_is_not_taken_for_a_name_but_named_with_it(shapes, name):
    with pytest.raises(
        ValueError, match=r"Choose one of: circle\. Did you mean 'circle', or the object `Circle\(\)`\?$"
    ):
        shapes.create(name)


@pytest.mark.parametrize("name", ["Square", "my_package.square"])
def test_a_class_without_a_name_is_to_be_an_object(shapes, name):
    with pytest.raises(ValueError, match=r"pass an object; in a configuration file .* give its `class_path`"):
        shapes.create(name)


def test_taken_name_raises(shapes):
    with pytest.raises(ValueError, match=r"shape name 'circle' already belongs to .*Circle, so .*Other cannot"):

        @shapes.register("circle")
        class Other:
            pass

    assert type(shapes.create("circle")).__name__ == "Circle"


def test_registering_a_class_again_changes_nothing(shapes):
    circle = type(shapes.create("circle"))
    assert shapes.register("circle")(circle) is circle
    assert shapes.available() == ["circle"]


def test_a_class_has_a_name_for_each_of_several_arguments(shapes):
    circle = shapes.get("circle")
    shapes.register("large", radius=9)(shapes.register("medium", radius=4)(circle))
    assert [shapes.create(name).radius for name in ("circle", "medium", "large")] == [1, 4, 9]
    assert shapes.create("large", radius=10).radius == 10
    assert shapes.get("large") is circle
    with pytest.raises(ValueError, match=r"There is no shape named 'Large'.* Did you mean 'large'\?$"):
        shapes.create("Large")
    with pytest.raises(ValueError, match="'large' already belongs to"):
        shapes.register("large", radius=8)(circle)


@pytest.mark.usefixtures("installed")
def test_other_packages_add_names_by_entry_points():
    shapes = Registry("shape", group="tests.shapes")
    assert shapes.available() == ["square"]
    assert type(shapes.create("square")).__module__ == "squares"


@pytest.mark.usefixtures("installed")
def test_entry_points_load_when_a_name_is_missing():
    shapes = Registry("shape", group="tests.shapes")
    assert type(shapes.create("square")).__name__ == "Square"


@pytest.mark.usefixtures("installed")
def test_entry_point_cannot_take_a_name():
    shapes = Registry("shape", group="tests.shapes")
    shapes.register("square")(type("Ours", (), {}))
    with pytest.raises(ValueError, match="already belongs to"):
        shapes.available()


def test_every_acquisition_of_the_package_is_registered():
    names = {"random", "entropy", "margin", "least_confidence", "variation_ratio", "bald", "batchbald"}
    assert names <= set(acquisition.available())


def test_unknown_acquisition_lists_the_known():
    with pytest.raises(ValueError, match=r"no acquisition function named 'batch_bald'.*bald, .*batchbald, .*entropy"):
        acquisition.create("batch_bald")
