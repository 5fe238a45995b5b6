"""What the panels of a run's picture hold."""

import numpy as np

from orchestai_jax.training.curves import draw


def line(step, split, **values):
    values = {name.replace("__", "/"): value for name, value in values.items()}
    return {"step": step, "epoch": 1, "split": split, "values": values, "learning_rate": 0.1 * step, "wall_s": 0.0}


def test_every_line_is_in_its_panel():
    lines = [
        line(1, "train", loss=3.0, gradient_norm=0.5, skipped_updates=0),
        line(1, "layers", gradient_norm__embedding=0.4, parameter_norm__embedding=9.0),
        line(2, "train", loss=2.0, gradient_norm=0.25, skipped_updates=1),
        line(2, "validation", loss=2.5, accuracy=0.5, perplexity=12.2, score=-2.5),
        line(2, "event", event="exploding gradient", layer="embedding"),
    ]
    panels = {panel.get_title(): panel for panel in draw(lines).axes}
    names = {title: panel.get_legend_handles_labels()[1] for title, panel in panels.items()}
    assert names == {
        "losses": ["train loss", "validation loss"],
        "validation": ["accuracy"],
        "gradient norm": ["embedding", "all"],
        "learning rate": [],
    }
    np.testing.assert_allclose(panels["losses"].lines[0].get_ydata(), [3.0, 2.0])
    np.testing.assert_allclose(panels["gradient norm"].lines[1].get_ydata(), [0.5, 0.25])
    assert list(panels["gradient norm"].lines[2].get_xdata()) == [2, 2]  # the event
    np.testing.assert_allclose(panels["learning rate"].lines[0].get_ydata(), [0.1, 0.2])


def test_many_layers_have_no_legend():
    lines = [line(1, "layers", **{f"gradient_norm__layer{i}": 1.0 for i in range(50)})]
    panel = next(panel for panel in draw(lines).axes if panel.get_title() == "gradient norm")
    assert panel.get_legend() is None
    assert len(panel.lines) == 50
