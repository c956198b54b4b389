"""Pictures with their labels: rendered road signs, CIFAR-10, folders of images."""
