"""Networks for small images, a family each file, with the sizes of the papers' implementations.

Each takes [batch, channels, height, width], or [batch, features] of square images; smaller images are padded
with zeros to the network's size. width scales the number of channels; 1.0 is the original. initial: how the
weights of the convolutions begin (`blocks.INITIAL`); by default as in the implementation that is followed.
"""

from adatune_lite.tasks.networks.conv4 import conv4
from adatune_lite.tasks.networks.densenet import densenet_bc
from adatune_lite.tasks.networks.imagenet import resnet50_imagenet
from adatune_lite.tasks.networks.lenet import lenet5
from adatune_lite.tasks.networks.resnet import resnet18, resnet34, resnet50
from adatune_lite.tasks.networks.vgg import vgg11, vgg13, vgg16, vgg19
from adatune_lite.tasks.networks.wide_resnet import wide_resnet

__all__ = [
    "conv4",
    "densenet_bc",
    "lenet5",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50_imagenet",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "wide_resnet",
]
