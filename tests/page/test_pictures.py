"""Pictures are the right way up, as small as asked, in eight bits, and say nothing of where they were taken."""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightning_al.page.pictures import Pictures, resized, size_of
from tests.support.page import Client, ask, query, served


def shown(path: Path, side: int = 1600) -> Image.Image:
    with path.open("rb") as file:
        picture = resized(file, side)
    image = Image.open(io.BytesIO(picture.content))
    assert picture.kind == f"image/{(image.format or '').lower()}"
    image.load()
    return image


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("side", [16, 100])
def test_every_kind_of_picture_is_shown_in_its_form(tmp_path: Path, mode: str, side: int) -> None:
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I;16", "I", "F") else "a.png")
    Image.new(mode, (80, 40)).save(path)
    image = shown(path, side)
    assert image.size == ((16, 8) if side == 16 else (80, 40))
    assert image.mode in ("L", "RGB", "RGBA")


def test_many_bits_are_scaled_from_the_least_to_the_greatest(tmp_path: Path) -> None:
    Image.fromarray(np.array([[1000, 3000], [2000, 1000]], dtype=np.uint16)).save(tmp_path / "a.tif")
    assert np.asarray(shown(tmp_path / "a.tif")).tolist() == [[0, 255], [128, 0]]


@pytest.mark.parametrize(("turn", "corner"), [(1, (0, 0)), (6, (49, 0)), (3, (99, 49)), (8, (0, 99))])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_picture_is_the_right_way_up_without_its_metadata(
    tmp_path: Path, turn: int, corner: tuple[int, int], kind: str
) -> None:
    pixels = np.zeros((50, 100, 3), dtype=np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = turn, "taken at home"
    path = tmp_path / f"a.{kind}"
    Image.fromarray(pixels).save(path, exif=exif, quality=95)
    image = shown(path)
    assert image.getpixel(corner)[0] > 200  # type: ignore[index]
    assert image.size == ((100, 50) if turn in (1, 3) else (50, 100))
    with path.open("rb") as file:
        assert size_of(file) == image.size
    assert not image.getexif()
    with path.open("rb") as file:
        assert b"taken at home" not in resized(file, 1600).content


def test_pictures_are_resized_once_and_only_so_many_are_kept(tmp_path: Path) -> None:
    Image.effect_noise((400, 300), 50).save(tmp_path / "a.png")
    opened: list[str] = []

    def get(name: str, side: int = 200) -> int:
        def open_file() -> io.BufferedReader:
            opened.append(name)
            return (tmp_path / "a.png").open("rb")

        return len(pictures.get(name, side, open_file).result(10).content)

    pictures = Pictures(most_kept=100_000)
    size = get("a")
    assert [get("a"), get("a", 100) < size, opened] == [size, True, ["a", "a"]]
    for name in "bcdefghijkl":
        get(name)
    get("l")
    get("a")
    assert opened == ["a", *"abcdefghijkl", "a"]
    pictures.close()


def test_a_picture_that_cannot_be_read_is_a_fault_and_is_tried_again(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"no picture")
    ask(tmp_path, query(tmp_path, [7], paths=[photo]))
    with served(tmp_path) as service:
        client = Client(service)
        item = client.post("next")["items"][0]
        assert (item["pictures"], item["fault"]) == ([], "Its picture cannot be read: UnidentifiedImageError")
        assert client.http.get("/api/picture/7/0").status_code == 422
        Image.new("L", (2000, 8)).save(photo)
        response = client.http.get("/api/picture/7/0?side=100")
        assert response.status_code == 200
        assert Image.open(io.BytesIO(response.content)).size == (100, 1)
        assert [client.http.get(f"/api/picture/7/0?side={side}").status_code for side in ("", "-1", "9" * 9)] == [
            400
        ] * 3
        photo.unlink()
        assert client.http.get("/api/picture/7/0?side=300").status_code == 404


def test_the_next_pictures_are_ready_before_they_are_asked_for(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.jpg" for index in range(6)]
    for path in paths:
        Image.new("RGB", (1200, 900)).save(path)
    ask(tmp_path, query(tmp_path, range(6), paths=paths))
    with served(tmp_path) as service:
        client = Client(service)
        item = client.post("next", n=5)["items"][0]
        assert (item["pictures"], item["texts"]) == (
            [{"url": "api/picture/0/0", "width": 1200, "height": 900, "small": False}],
            [],
        )
        deadline = time.monotonic() + 20
        while len(service.pictures) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        for path in paths:
            path.unlink()
        assert [client.http.get(f"/api/picture/{index}/0").status_code for index in range(6)] == [200] * 5 + [404]
