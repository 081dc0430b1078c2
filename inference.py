"The file a SageMaker PyTorch endpoint names as its program: the handlers of `dogbreed_sm.inference`"
from dogbreed_sm.inference import input_fn, model_fn, output_fn, predict_fn

__all__ = ['input_fn', 'model_fn', 'output_fn', 'predict_fn']
