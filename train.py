"The file a SageMaker training job names as its program: `python -m dogbreed_sm.train`, for those who can run files only"
import sys

from dogbreed_sm.train import main

if __name__ == '__main__': sys.exit(main())
