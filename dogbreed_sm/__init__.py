"""Fine-tune a ResNet on labelled photos, see what happened in training, and serve it: on this machine or on SageMaker, by the same calls

You have folders of labelled photos, dog breeds or anything else, and want a fine-tuned ResNet, numbers you can believe, and an endpoint that answers with a label. `dogbreed_sm` does that on the machine in front of you. It is written as notebooks: each page defines, explains and tests one part, and the package, its tests and its documentation are made from the same pages.

Modules:

- `dogbreed_sm.archives`: An archive of photos fetched once, checked, and unpacked without trust: resumable downloads, safe extraction, and the dogImages set in one call
- `dogbreed_sm.artifact`: The trained model as a folder and as `model.tar.gz`: written so that it is whole or refused, loaded without running anybody's code
- `dogbreed_sm.batching`: A queue in front of a model: workers that take whatever is waiting through the network together, and results that can only reach their own request
- `dogbreed_sm.cache`: Every photo decoded once: checked, shrunk, and kept as pixels in one memory-mapped file
- `dogbreed_sm.cli`: `dogbreed demo | audit | train | evaluate | serve | predict`
- `dogbreed_sm.core`: Names, typed errors, the metric line, typed hyperparameters, the job's environment, seeding and the run's manifest
- `dogbreed_sm.data`: Folders of labelled photos: found, split, and audited file by file before a minute is spent on training
- `dogbreed_sm.demo`: From photos to a served prediction in one call: draw or take data, audit, train, evaluate, pack, serve, predict, stop
- `dogbreed_sm.evaluate`: What a network gets right and wrong: metrics, confusions, top losses with their photos, and calibrated probabilities
- `dogbreed_sm.finetune`: Freeze, then fine-tune, as one run: a checkpoint after each epoch, the best epoch kept, early stopping, and the same result after any interruption
- `dogbreed_sm.images`: Any file or bytes to one RGB photo of a known size, or a typed error: the same pixels in training and at the endpoint
- `dogbreed_sm.inference`: The four handlers that turn a request into an answer, for SageMaker's containers and for the server of this package
- `dogbreed_sm.learner`: A ResNet in a fastai `Learner`: pretrained body, new head, stages that freeze, and arithmetic that suits the processor
- `dogbreed_sm.loaders`: fastai `DataLoaders` over cached pixels: random crops per photo, flips and colours per batch, the same in every repetition of a run
- `dogbreed_sm.resnet`: The network by itself: a torchvision ResNet with a new head, pretrained weights that are checked key by key, and the arithmetic that suits the processor
- `dogbreed_sm.serve`: The endpoint's server: `/ping` and `/invocations`, a queue that batches what is waiting, limits on everything, and an answer to every request it accepted
- `dogbreed_sm.train`: The training entry point: hyperparameters and folders in; metric lines, a history and a model artifact out, on this machine or in a SageMaker job"""

__version__ = "0.1.0"
