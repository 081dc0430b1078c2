"""Fine-tune a ResNet on labelled photos, see what happened in training, and serve it: on this machine or on SageMaker, by the same calls

Modules:

- `dogbreed_sm.core`: Names, typed errors, the metric line, typed hyperparameters, the job's environment, seeding and the run's manifest
- `dogbreed_sm.images`: Any file or bytes to one RGB photo of a known size, or a typed error: the same pixels in training and at the endpoint
- `dogbreed_sm.resnet`: The network by itself: a torchvision ResNet with a new head, pretrained weights that are checked key by key, and the arithmetic that suits the processor"""

__version__ = "0.1.0"
