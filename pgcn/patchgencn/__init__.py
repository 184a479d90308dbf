"""The first method, PatchGenCN: one energy network a scale, trained coarse to fine by short-run Langevin dynamics."""
