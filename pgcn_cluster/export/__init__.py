"""Export of image and label pairs as a folder, for programs that train segmentation."""
