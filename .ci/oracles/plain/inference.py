"A plain inference script as most SageMaker notebooks have it: nothing of this project in it"
import io, os

import torch
from PIL import Image
from torchvision import transforms
from train_model import network


def model_fn(model_dir):
    saved = torch.load(os.path.join(model_dir, 'model.pth'), weights_only=True)
    net = network(len(saved['classes']), saved['hidden_units'], 0.)
    net.load_state_dict(saved['state'])
    return net.eval()


def input_fn(request_body, content_type):
    if content_type not in ('image/jpeg', 'image/jpg'): raise ValueError(f'Unsupported content type {content_type}')
    steps = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])
    return steps(Image.open(io.BytesIO(request_body)).convert('RGB'))[None]


def predict_fn(batch, model):
    with torch.no_grad(): return model(batch)
