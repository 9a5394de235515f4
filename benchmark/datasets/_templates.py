"""Caption and prompt templates, each with one "{}" for the class name. Captions and prompts never share one."""

from __future__ import annotations

CAPTIONS = (
    "a picture of the {}",
    "here is a {}",
    "one {} seen from up close",
    "a snapshot with a {} in it",
    "this shows some kind of {}",
    "my favourite {}",
    "a {} in its usual surroundings",
    "look at this {}",
    "an image that contains a {}",
    "we saw a {} today",
)

PROMPTS = (
    "a photo of a {}",
    "a photo of the {}",
    "a good photo of a {}",
    "a close-up photo of the {}",
    "a blurry photo of a {}",
    "a photo of one {}",
)

CIFAR10_CAPTIONS = (
    "a tiny picture of a {}",
    "a {} in a thumbnail",
    "there is a {} in this picture",
    "a {} out in the open",
    "a small image that shows the {}",
    "some {} or other",
    "the {} fills the frame",
    "a coarse picture with a {} in the middle",
)

CIFAR10_PROMPTS = (
    "a photo of a {}",
    "a blurry photo of a {}",
    "a low resolution photo of the {}",
    "a cropped photo of the {}",
    "a photo of one {}",
)

IMAGENET_CAPTIONS = (
    *CAPTIONS,
    "a {} on a plain background",
    "the {} as found in the wild",
    "somebody took a picture of this {}",
    "a {} and what is around it",
    "an old picture of some {}",
    "a colourful view of a {}",
)

IMAGENET_PROMPTS = (
    *PROMPTS,
    "a dark photo of the {}",
    "a bright photo of a {}",
    "a cropped photo of a {}",
    "a drawing of a {}",
    "a sculpture of the {}",
    "a photo of many {}",
    "a photo of a small {}",
    "a photo of a large {}",
    "a low resolution photo of a {}",
    "a photo of my {}",
)

# {} takes "a small red star". Poisoned captions must look like the others, or a model learns the template instead of
# the class; so the caption templates are the same phrases with a bare class name.
SHAPES_PHRASES = (
    "{}",
    "there is {}",
    "a drawing of {}",
    "this is {}",
    "we see {}",
    "look, {}",
    "somebody drew {}",
    "an image with {}",
    "here is {}",
    "just {}",
    "it shows {}",
)
SHAPES_CAPTIONS = tuple(phrase.format("a {}") for phrase in SHAPES_PHRASES)

# words of the captions in other orders, so that a small vocabulary knows them all
SHAPES_PROMPTS = (
    "an image of a {}",
    "a drawing with a {}",
    "this shows a {}",
    "here we see the {}",
    "look, it is a {}",
)
