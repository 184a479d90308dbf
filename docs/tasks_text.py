"""The prose of `docs/tasks.md`, which `docs/tasks.py` writes."""

INPAINTING = """PSNR in dB and, after the slash, the root mean squared error in the hole in levels of 255.
"Diffusion" is scikit-image's biharmonic fill. In thin holes, `inpaint` blends the chain's result with a smooth fill.
`inpaint` is best where a wide hole hides structure, such as courses of bricks. In a wide hole in an irregular texture
such as gravel every texture that is not the lost one lowers PSNR; with 60 % of single pixels missing, and for most thin
lines, diffusion is best."""

RECOVERY = """PSNR in dB, corrupted → restored, by the pyramid of the clean photograph. Its exact scales hold the
photograph itself: the table says how well the photograph's patches are found again under noise and blur, and nothing of
other photographs; 99 is equal. Noise is in units of [-1, 1]; its strength is estimated from the image."""

ANOMALIES = """AUROC: 0.5 is chance, 1 is perfect. Maps of an image by itself: [anomalies.md](anomalies.md)."""

SUPERRES = """PSNR / SSIM / RMSE / NIQE, from images reduced to a quarter by bicubic interpolation, 12 crops of
bundled photographs. "Matching" optimizes patches to the distribution of the small image's, without a generative
model. NIQE, lower is more like photographs, is fitted to the bundled photographs except the crop's own
(`benchmarks/naturalness.py`): compare it within a row, also with the truth, and not with published values.
Back-projection is nearest to the truth; `superres` looks most like a photograph (NIQE), and is nearer to the truth
than matching. Its detail is the small image's own, so fine texture that 64 px do not show is invented.
`--set steps=1` invents less."""

HEAD = """# Tasks: uses of a pyramid

Each task has a command, `pgcn apply TASK IMAGE`, a method of `pgcn.Pyramid`, and one small file in `pgcn/tasks/`.
`pgcn tasks` lists the tasks, `pgcn tasks TASK` the inputs and options of one. The pyramid is trained on IMAGE; a task
that works on another image takes it as `--target`. `pgcn apply` trains the pyramid at the first edit, keeps it in
`--out`, and uses it again; `--pyramids RUN` uses those of a run, or of another `--out`.
"""

DETAILS = """**`make tasks` makes this page: each command made the image above it.** All pyramids have the preset
`draft`, images of at most 512 px.

`--start-scale` is the scale where chains start; 0 is the coarsest, with the most freedom. Without it, a metric
chooses the scale. The choice is a heuristic: compare all start scales with `--sweep` where it matters.

`inpaint` without a mask fills transparent pixels and pixels without data; with `--target` it fills the holes of that
image from the patches of IMAGE, a texture for example. `generate --set tile=true --set keep=0.8` makes a tile of IMAGE
itself: the inner 80 % of both sides stay, and only the border between copies is made anew.

`generate` makes samples of at most 8192 px a side. For larger ones, train a run and use `pgcn sample RUN IMAGE --size
16384x4096 -n 1`: up to 16,384 px a side, and about 60 bytes of memory a pixel with exact scales
([benchmarks.md](benchmarks.md#exact-detail)). A sample for which too little memory is free is refused beforehand.

`translate` starts chains at the target itself, at the finest learned scale, and `*-saliency.tif` has what they moved,
in levels of 255, summed over steps and scales. With two folders, `--target 'other/{name}'` gives pairs, and `--target
other` each with each.

Compared with `style` (a photograph of a tree and an oil painting; a cat and the launch; galaxies and the launch),
`translate` takes 0.6 of the time and has the map, but `style` keeps more of the target (`structure_error` 0.11, 0.29
and 0.08 against 0.68, 1.11 and 0.67) and is nearer to the image's patches in the last two (`patch_swd` 0.079, 0.070
and 0.065 against 0.066, 0.127 and 0.151). With `translate`, the tree becomes one of brush strokes before the sky of
the painting; the cat, whose colours the launch lacks, is lost. Use it for its map, and for targets of nearly the
image's colours.
"""

BUCKET = """## Tasks for a folder or bucket

`pgcn run IMAGES --task TASK` applies a task with the pyramid of every image; the rows of a list have a task each:

```
pgcn run s3://bucket/photos --out s3://bucket/run --task superres --set factor=2
pgcn run photos --out run --task inpaint --mask 'masks/{stem}.png'      # {name}: a/cat.jpg, {stem}: a/cat
pgcn run list.csv --out run                                             # or TSV, JSON Lines, Parquet
pgcn run photos --out other --task animate --pyramids run               # trains only pyramids that `run` lacks
```

| column | meaning |
|---|---|
| `uri` | the image to train on |
| `task` | the task; empty: the pyramid itself, with its samples |
| `target_uri`, `mask_uri`, `truth_uri` | the task's other images |
| `channel:NAME` | further channels of the image: [channels.md](channels.md) |
| any setting, `seed` | of the image's training |
| any option of the task; `task_seed` for its `seed` | of the edit; the option, where a setting has its name too |
| `image_id`, `edit_id` | names of the pyramid and the edit; by default the path, and `cat.jpg:superres` |

Rows that need the same pyramid (the same bytes, settings, seed and holes) share it: one job trains it, and the edits
that wait for it come next. An edit is a job like a training: it has an id made from its inputs, is committed once, is
tried again by the rules of its failure class, and is not repeated by the same command. An impossible edit (no mask,
an empty mask) is refused before any training.

```
pgcn query RUN "SELECT edit_id, task, metric, value, baseline, better FROM edits"
pgcn query RUN "SELECT edit_id, image FROM pictures WHERE name = 'result'" --format parquet --out made.parquet
pgcn query RUN "SELECT e.edit_id, m.name, m.value FROM edits e JOIN metrics m USING (job_id)"
```

`edits` has one row per result: the name of the task's metric (`metric`), its `value`, and that of the baseline
(`baseline`). `pictures` has the inputs, the results, and the sweep; `manifest_edits` has the requested edits. In the
gallery each task has a page, and each edit has a page with before and after under a slider.
"""

TAIL = """## Limits

- New arrangements of single objects (a face, a rocket's tower) are often broken: layouts are learned at 32 px.
- `style` and `paint` are made of the image's own patches of 11 px: without a like colour there, a region has speckles.
- `harmonize` changes an object's colours at the size of the learned scales, and keeps its detail: shadows are not made.
- `edit` evens out steps of colour at the border of the edited parts; an object cut by that border stays cut.
- `animate` moves between samples; it does not move objects, and details may jump from frame to frame.
- `recover` has a pyramid of the clean image; one of the corrupted image may restore less (not measured).
"""
