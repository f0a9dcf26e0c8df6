"""Small video files written at test time. Frame i has brightness 20 + 5 i (40 frames at most), with a bright corner."""

import struct

import av
import numpy as np

WIDTH, HEIGHT, FRAMES = 64, 48, 24


def brightness(index):
    return 20 + 5 * index


def picture(index, height=HEIGHT, width=WIDTH):
    """Uniform but for the top left quarter, which is white: shows the order of frames and how a frame is turned."""
    image = np.full((height, width, 3), brightness(index), np.uint8)
    image[: height // 4, : width // 4] = 255
    return image


def index_of(frame):
    """Which frame of a written video this is, read from the pixels of its lower right quarter."""
    height, width = frame.shape[:2]
    return round((float(frame[height // 2 :, width // 2 :].mean()) - 20) / 5)


def write_video(
    path, frames=FRAMES, width=WIDTH, height=HEIGHT, *, codec="libx264", pixels="yuv420p", pts=None, faststart=False
):
    """A video of `frames` pictures; `pts` gives time stamps in 1/25 s, `faststart` puts an MP4's index in front."""
    images = [picture(index, height, width) for index in range(frames)]
    return encode(path, images, codec=codec, pixels=pixels, pts=pts, faststart=faststart)


def encode(path, images, *, codec="libx264", pixels="yuv420p", pts=None, faststart=False, title=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    muxer = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=25, options={"threads": "1", "crf": "10"})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = pixels, 4_000_000
        if title is not None:
            container.metadata["title"] = title
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = index if pts is None else pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for block in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 1024 * block
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_rotation(path, clockwise):
    """Overwrite the display matrix in the MP4 track header; 16.16 and 2.30 fixed point, as ISO 14496-12 has it."""
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    data[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


def cut(source, target, share):
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target
