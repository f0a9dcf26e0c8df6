"""The figures of `vared/figures/explored_clip.py` under controls, in a notebook with ipywidgets."""

import html
import tempfile
from pathlib import Path

from vared import exploring
from vared.data.video import VideoError
from vared.figures import explored_clip
from vared.ready import DEFAULT, list_ready
from vared.reports.reporting import png

_GATES = ("the gates decide", "gates")


def panel(network: str = DEFAULT, clip: int | str | Path = 0):
    """Controls for network, clip (a generated one by number, a path, an upload), forced policy, openness threshold and
    layer, and the figures that follow them, as a widget; None, with a line that says so, without ipywidgets."""
    try:
        import ipywidgets as widgets
    except ImportError:
        print("Controls need ipywidgets: pip install ipywidgets. The figures above are the same.")
        return None
    return _Panel(widgets, network, clip).widget


class _Panel:
    def __init__(self, widgets, network: str, clip: int | str | Path):
        common = {"style": {"description_width": "120px"}, "layout": {"width": "520px"}}
        late = common | {"continuous_update": False}
        number, path = (clip, "") if isinstance(clip, int) else (0, str(clip))
        self.network = widgets.Dropdown(options=list_ready(), value=network, description="network", **common)
        self.number = widgets.IntSlider(number, 0, 1007, description="generated clip", **late)
        self.path = widgets.Text(path, placeholder="path of a video", description="or a file", **late)
        self.upload = widgets.FileUpload(accept="video/*", description="or upload one", layout={"width": "200px"})
        self.forced = widgets.SelectionSlider(options=[_GATES], description="policy", **late)
        self.threshold = widgets.FloatSlider(0, min=0, max=0.95, step=0.05, description="openness above", **late)
        self.layer = widgets.Dropdown(options=[], description="maps of layer", **common)
        self.pictures, self._picture, self._words = widgets.VBox(), widgets.Image, widgets.HTML
        self.subject: exploring.Subject | None = None
        self.source = self.path if path else self.number
        source, policy = (self.network, self.number, self.path, self.upload), (self.forced, self.threshold, self.layer)
        for control in source:
            control.observe(self.choose, "value")
        for control in policy:
            control.observe(self.draw, "value")
        self.widget = widgets.VBox([*source, *policy, self.pictures])
        self.choose()

    def choose(self, change=None) -> None:
        """Another network or clip, from the control touched last: load it, and offer its policies and layers."""
        if change is not None and change["owner"] is not self.network:
            self.source = change["owner"]
        self.subject = None  # nothing is drawn while the controls change
        try:
            one = self._chosen()
        except (VideoError, OSError) as error:
            self.pictures.children = (self._words(html.escape(str(error))),)
            return
        self.forced.options = [_GATES, *((f"R = {r}, r = {c:g}", (r, c)) for r, c in exploring.candidates(one))]
        self.layer.options = layers = explored_clip.layers_that_leave_out(one)
        self.layer.index = 0 if layers else None
        self.subject = one
        self.draw()

    def _chosen(self) -> exploring.Subject:
        """The network with the upload, the file at the path, or the generated clip; this one where there is neither."""
        if self.source is self.upload and self.upload.value:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / Path(self.upload.value[0]["name"]).name
                path.write_bytes(self.upload.value[0]["content"])
                return exploring.subject(self.network.value, path)
        if self.source is self.path and self.path.value.strip():
            return exploring.subject(self.network.value, Path(self.path.value.strip()).expanduser())
        return exploring.subject(self.network.value, self.number.value)

    def draw(self, _=None) -> None:
        """Another policy, threshold or layer."""
        if self.subject is not None:
            drawn = [png(figure, dpi=100) for figure in self.figures()]
            self.pictures.children = [self._picture(value=image, layout={"max_width": "900px"}) for image in drawn]

    def figures(self) -> list:
        """All figures of the clip that the network has: a static one has no policy."""
        forced = None if self.forced.value == _GATES[1] else self.forced.value
        one, outcome = self.subject, exploring.decide(self.subject, forced, self.threshold.value)
        drawn = [explored_clip.draw_outcome(one, outcome)]
        if outcome.policies:
            drawn += [explored_clip.draw_policy(one, outcome), explored_clip.draw_moves(one)]
        if self.layer.value:
            dimensions = ("temporal", "channel")
            drawn += [explored_clip.draw_rebuilt(one, self.layer.value, dimension) for dimension in dimensions]
        return drawn
