"""Images with labels: rendered road signs, CIFAR-10, folders of images."""
