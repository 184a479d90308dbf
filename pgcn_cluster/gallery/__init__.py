"""The static gallery of a run: pages that open from a disk or a bucket, without a server."""

from pgcn_cluster.gallery.build import build_gallery

__all__ = ["build_gallery"]
