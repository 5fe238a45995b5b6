"""Pictures of workflows: a tree of text, Mermaid, SVG."""

from orchestai_jax.workflow.pictures.mermaid import to_mermaid
from orchestai_jax.workflow.pictures.svg import to_svg
from orchestai_jax.workflow.pictures.text_tree import to_text

__all__ = [
    "to_mermaid",
    "to_svg",
    "to_text",
]
