"""Fine-tune a ResNet on labelled photos, see what happened in training, and serve it: on this machine or on SageMaker, by the same calls

You have folders of labelled photos, dog breeds or anything else, and want a fine-tuned ResNet, numbers you can believe, and an endpoint that answers with a label. `dogbreed_sm` does that on the machine in front of you, and on Amazon SageMaker by the same calls. It is written as notebooks: each page defines, explains and tests one part, and the package, its tests and its documentation are made from the same pages.

Modules:

- `dogbreed_sm.apimodel`: A request held against botocore's own model of the service: every value that has the wrong type, name, length, pattern or range
- `dogbreed_sm.archives`: An archive of photos fetched once, checked, and unpacked without trust: resumable downloads, safe extraction, and the dogImages set in one call
- `dogbreed_sm.artifact`: The trained model as a folder and as `model.tar.gz`: written so that it is whole or refused, loaded without running anybody's code
- `dogbreed_sm.aws_rules`: SageMaker's profiler rules as they really decide, quirks included: names, parameters, defaults, counts
- `dogbreed_sm.batching`: A queue in front of a model: workers that take whatever is waiting through the network together, and results that can only reach their own request
- `dogbreed_sm.bottlenecks`: What limits a training run, in words and seconds: slow storage, decoding, small batches, stalls, other programs, a leak, validation, initialisation
- `dogbreed_sm.cache`: Every photo decoded once: checked, shrunk, and kept as pixels in one memory-mapped file
- `dogbreed_sm.checks`: The strict check of a request to SageMaker, before it leaves: every fault at once, as *field: value: what is allowed*
- `dogbreed_sm.cli`: `dogbreed demo | audit | train | jobs | evaluate | serve | predict | deploy | transform | sweep`
- `dogbreed_sm.clients`: boto3's clients with what they need, found when it is needed: region, credentials, execution role and bucket; and every request checked before it leaves
- `dogbreed_sm.contract`: What a training script finds when it starts: the folders of `/opt/ml`, its arguments and its `SM_*` variables, as SageMaker's training toolkit gives them in a container
- `dogbreed_sm.core`: Names, typed errors, the metric line, typed hyperparameters, the job's environment, seeding and the run's manifest
- `dogbreed_sm.costs`: What a job or an endpoint will cost, from a dated table of list prices, and a question before it costs more than a limit
- `dogbreed_sm.curves`: The four pictures people look at first: losses and metrics, gradients by layer, update ratios, dead ReLUs
- `dogbreed_sm.data`: Folders of labelled photos: found, split, and audited file by file before a minute is spent on training
- `dogbreed_sm.debugger`: Tensors saved while training, in smdebug's format: a fastai callback that costs little and never stops a run
- `dogbreed_sm.demo`: From photos to a served prediction in one call: draw or take data, audit, train, deploy, predict, delete
- `dogbreed_sm.deploy`: From a trained model to an endpoint that answers, on AWS or on this machine, and nothing left behind when it doesn't
- `dogbreed_sm.endpoints`: Endpoints of the local SageMaker: server processes by variant and instance, updated without losing a request, brought back when they die
- `dogbreed_sm.evaluate`: What a network gets right and wrong: metrics, confusions, top losses with their photos, and calibrated probabilities
- `dogbreed_sm.features`: The frozen part of a network runs once: its output for every photo, in a checksummed store that training reads in place of photos
- `dogbreed_sm.figures`: What a run looked like: curves, confusion, processors over time, where a step goes; as pictures with words, for a page that needs nothing else
- `dogbreed_sm.finetune`: Freeze, then fine-tune, as one run: a checkpoint after each epoch, the best epoch kept, early stopping, and the same result after any interruption
- `dogbreed_sm.frames`: A profiler's files as tables: samples, framework events, steps with their phases
- `dogbreed_sm.handlers`: A user's own inference script beside ours: found, loaded and called as SageMaker's PyTorch containers do
- `dogbreed_sm.heads`: Training behind a cut, on features instead of photos: a head in a fraction of a second an epoch, or the last stages on their maps
- `dogbreed_sm.images`: Any file or bytes to one RGB photo of a known size, or a typed error: the same pixels in training and at the endpoint
- `dogbreed_sm.inference`: The four handlers that turn a request into an answer, for SageMaker's containers and for the server of this package
- `dogbreed_sm.invocations`: A request's way to a server: a variant by its weight, an instance that answers, AWS's errors; and requests from files that wait for their turn
- `dogbreed_sm.job_requests`: Requests of training and processing jobs as pure functions: which image runs what on which machines, with which data, and for how long at most
- `dogbreed_sm.jobs`: Training and processing jobs: started by one call, watched, and read afterwards: metrics, report, model, cost
- `dogbreed_sm.label_rules`: ClassImbalance and Confusion: which classes there are, and which are taken for which
- `dogbreed_sm.layer_rules`: VanishingGradient, ExplodingTensor, PoorWeightInitialization, DeadRelu, SaturatedActivation, WeightUpdateRatio, AllZero, UnchangedTensor, TensorVariance
- `dogbreed_sm.learner`: A ResNet in a fastai `Learner`: pretrained body, new head, stages that freeze, and arithmetic that suits the processor
- `dogbreed_sm.loaders`: fastai `DataLoaders` over cached pixels: random crops per photo, flips and colours per batch, the same in every repetition of a run
- `dogbreed_sm.logs`: The logs of jobs by the calls of CloudWatch Logs, so that whatever tails a training job on AWS tails it here
- `dogbreed_sm.loss_rules`: LossNotDecreasing, Overfit, Overtraining, StalledTraining
- `dogbreed_sm.models`: Models of the local SageMaker: a name for an artifact and its environment, unpacked without trust when a server or a transform job needs it
- `dogbreed_sm.phases`: Where a training step goes: data loading, transfer, batch transforms, forward, backward, optimizer; and for a few steps every operator
- `dogbreed_sm.photofiles`: The bytes of a photo by its reference: a path, or a key in an HDF5 file
- `dogbreed_sm.predictor`: An endpoint that is there: ask it for breeds, see the photos with the answers, read its log, and take all of it away again
- `dogbreed_sm.processing`: Processing jobs of the local SageMaker: a Python script, its inputs, and what it writes
- `dogbreed_sm.profiler`: Sampling, step phases and rules around one training run, as its settings or a job's `profilerconfig.json` ask for
- `dogbreed_sm.profiler_rules`: SageMaker's profiler rules by name, in two readings: as SageMaker decides, and as suits a run of any length on any machine
- `dogbreed_sm.report`: One report of a run, as an executed notebook and as a page that needs nothing else; several runs side by side; AWS's own rule reports too
- `dogbreed_sm.resnet`: The network by itself: a torchvision ResNet with a new head, pretrained weights that are checked key by key, and the arithmetic that suits the processor
- `dogbreed_sm.rules`: What a rule is: AWS's parameters and defaults, a preset that suits fine-tuning, one method to write, a verdict in words
- `dogbreed_sm.samples`: What the machine does while a job runs: processor cores, waiting for disks, memory, disk, network and GPUs, in SageMaker's own files
- `dogbreed_sm.serve`: The endpoint's server: `/ping` and `/invocations`, a queue that batches what is waiting, limits on everything, and an answer to every request it accepted
- `dogbreed_sm.servers`: Server processes kept alive: started, asked whether they are well, started anew when they die, given up when that doesn't help, ended without losing a request
- `dogbreed_sm.session`: SageMaker as seen from here, of AWS or of this machine: a bucket for files, the local service, logs, and waiting
- `dogbreed_sm.smhook`: The adapter around smdebug 1.0.34: the two fixes that make its hook work with today's numpy and with fastai, and nothing else
- `dogbreed_sm.staging`: The package as the `source_dir` of a SageMaker job: from a clone or from an installed package, as a folder or as `sourcedir.tar.gz`
- `dogbreed_sm.storage`: Files behind `s3://` and `file://`, treated alike: only what changed is moved, a half-moved file is never seen, an interrupted move goes on where it stopped
- `dogbreed_sm.sweep`: Every endpoint of the account with its age and what it has cost, and the expired ones of ours deleted
- `dogbreed_sm.tensorfile`: Reading smdebug's event files without smdebug: records, checksums, and the few fields of their protocol buffers
- `dogbreed_sm.train`: The training entry point: hyperparameters and folders in; metric lines, a history and a model artifact out, on this machine or in a SageMaker job
- `dogbreed_sm.training`: Training jobs of the local SageMaker: created, queued, run, watched, stopped and packed, with the statuses, metrics and reasons that the real ones have
- `dogbreed_sm.transform`: A folder of photos labelled in one go: a batch transform job, and its answers as a table
- `dogbreed_sm.transforms`: Transform jobs of the local SageMaker: every file under an address goes through a model, and beside it appears one `.out`
- `dogbreed_sm.trial`: What a run saved, from a folder or from S3, as tidy tables: also when a part of it is missing
- `dogbreed_sm.tuning_requests`: What a hyperparameter tuning job sends: a training job's request, a search space and an objective as one request, checked before it leaves
- `dogbreed_sm.verdicts`: How a rule ends: a word, a sentence for a reader, the evidence, and what to do next
- `dogbreed_sm.watch`: Rules that judge while training goes on: which ones, from a request or by name; what they do on a hit; `rules.json` at the end
- `dogbreed_sm.workers`: Processes that outlive the service which started them: each under a supervisor that writes down its log and its end, started cold or from a process that has PyTorch loaded already"""

__version__ = "0.1.0"
