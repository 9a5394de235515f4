"""Image-caption pairs in use: preparation, splits, pools, augmentation."""
