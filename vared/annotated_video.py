"""A video again, with the label of the moment and a curve of the cost under it.

Lengths are pixels. Each frame shows the clip whose middle is nearest to it.
"""

from fractions import Fraction
from pathlib import Path

import av
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vared.checkpoints import write_atomically
from vared.data.frame_stream import stream_frames
from vared.prediction import Prediction, most_probable

_WIDTH, _STRIP, _TALLEST = 480, 120, 480  # of the page; of what is under the video; of the video
_CURVE = (262, 26, 464, 90)  # left, top, right, bottom of the axes, from the strip's upper left corner
_INK, _PALE, _PAPER, _COST = "#222222", "#b0b0b0", "#ffffff", "#1f3b5c"
_FALLBACK_RATE = 25  # frames a second, where the file has no time stamps


def write_annotated(prediction: Prediction, target: Path) -> None:
    """Write the annotated video as H.264 in MP4 to `target`, whole or not at all.

    Frames follow each other at the mean rate of the source. The source is decoded again; VideoError as it raises.
    """
    write_atomically(target, lambda temporary: _encode(prediction, temporary))


def _encode(prediction: Prediction, path: Path) -> None:
    strips = [_strip(prediction, number) for number in range(len(prediction.clips))]
    middles = (prediction.clips["first_frame"] + prediction.clips["last_frame"]).to_numpy() / 2
    size = None
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_rate(prediction), options={"crf": "18", "threads": "1"})
        for position, (_, image) in enumerate(stream_frames(prediction.path)):
            if size is None:  # a frame of another size later in the file is fitted into the first one's place
                size = _shown_size(*image.shape[:2])
                stream.width, stream.height, stream.pix_fmt = _WIDTH, size[1] + _STRIP, "yuv420p"
            clip = int(np.abs(middles - position).argmin())
            page = _page(Image.fromarray(np.ascontiguousarray(image)).resize(size), strips[clip])
            _draw_now(page, size[1], position / max(1, prediction.frames - 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(page), format="rgb24")))
        container.mux(stream.encode())


def _rate(prediction: Prediction) -> Fraction:
    """Mean frames a second of the source."""
    last, first = prediction.clips.iloc[-1], prediction.clips.iloc[0]
    seconds = last["end_seconds"] - first["start_seconds"]
    if not seconds > 0:
        return Fraction(_FALLBACK_RATE)
    return Fraction((prediction.frames - 1) / seconds).limit_denominator(1000)


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """(width, height) of the video on the page: as wide as that, but no taller than allowed; even, as H.264 wants."""
    scale = min(_WIDTH / width, _TALLEST / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _page(frame: Image.Image, strip: Image.Image) -> Image.Image:
    page = Image.new("RGB", (_WIDTH, frame.height + _STRIP), _PAPER)
    page.paste(frame, ((_WIDTH - frame.width) // 2, 0))
    page.paste(strip, (0, frame.height))
    return page


def _strip(prediction: Prediction, number: int) -> Image.Image:
    """Labels and cost of clip `number`, and the curve over all clips; the place in time is drawn later."""
    strip = Image.new("RGB", (_WIDTH, _STRIP), _PAPER)
    draw = ImageDraw.Draw(strip)
    ranked = most_probable(prediction.probabilities[number], prediction.card.classes, 3)
    for rank, (name, probability) in enumerate(ranked):
        font, ink = (_font(20), _INK) if rank == 0 else (_font(12), "#666666")
        y = 10 if rank == 0 else 24 + 17 * rank
        draw.text((14, y), _shortened(draw, name, font, 135), ink, font)
        draw.text((216, y), f"{100 * probability:.0f} %", ink, font, anchor="ra")
    row = prediction.clips.iloc[number]
    draw.text((14, 90), f"cost {100 * row['share']:.0f} % of the static network", _COST, _font(12))
    _draw_curve(draw, prediction, number)
    return strip


def _draw_curve(draw: ImageDraw.ImageDraw, prediction: Prediction, number: int) -> None:
    left, top, right, bottom = _CURVE
    shares = prediction.clips["share"].to_numpy()
    largest = max(1.0, shares.max())
    middles = (prediction.clips["first_frame"] + prediction.clips["last_frame"]).to_numpy() / 2
    xs = left + (right - left) * middles / max(1, prediction.frames - 1)
    ys = bottom - (bottom - top) * shares / largest
    static = bottom - (bottom - top) / largest
    draw.text((left, 4), "multiply-accumulates, % of static", "#666666", _font(10))
    draw.line((left, bottom, right, bottom), _PALE)
    draw.line((left, static, right, static), _PALE)
    draw.text((left - 4, static), "100", "#666666", _font(10), anchor="rm")
    draw.text((left - 4, bottom), "0", "#666666", _font(10), anchor="rm")
    # From edge to edge: a video of one clip has one cost.
    points = [(left, ys[0]), *zip(xs, ys, strict=True), (right, ys[-1])]
    draw.line(points, _COST, 2)
    draw.ellipse((xs[number] - 3, ys[number] - 3, xs[number] + 3, ys[number] + 3), _COST)
    seconds = prediction.clips["end_seconds"].iloc[-1]
    end = f"{prediction.frames} frames" if np.isnan(seconds) else f"{seconds:.1f} s"
    draw.text((right, bottom + 4), end, "#666666", _font(10), anchor="ra")


def _draw_now(page: Image.Image, top: int, share: float) -> None:
    """A line at the frame shown, `share` of the way through the video; `top` is where the strip begins."""
    x = _CURVE[0] + (_CURVE[2] - _CURVE[0]) * share
    ImageDraw.Draw(page).line((x, top + _CURVE[1], x, top + _CURVE[3]), "#d62728", 2)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """`text`, cut until it is at most `width` wide."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text}…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)
