"A plain torch training script as most SageMaker notebooks have it: nothing of this project in it"
import argparse, os

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms


def network(classes, hidden_units, dropout_rate):
    net = models.resnet18()
    for p in net.parameters(): p.requires_grad = False
    net.fc = nn.Sequential(nn.Linear(512, hidden_units), nn.ReLU(), nn.Dropout(dropout_rate), nn.Linear(hidden_units, classes))
    return net


def loader(folder, batch_size, train):
    steps = transforms.Compose([transforms.Resize((64, 64)), transforms.ToTensor()])
    return DataLoader(datasets.ImageFolder(folder, steps), batch_size=batch_size, shuffle=train)


def one_epoch(net, dl, loss_fn, opt=None):
    net.train(opt is not None)
    losses, right, n = 0., 0, 0
    with torch.set_grad_enabled(opt is not None):
        for x, y in dl:
            out = net(x)
            loss = loss_fn(out, y)
            if opt: opt.zero_grad(); loss.backward(); opt.step()
            losses, right, n = losses+loss.item()*len(y), right+int((out.argmax(1) == y).sum()), n+len(y)
    return losses/n, right/n


def main(a):
    train, valid = loader(a.train, a.batch_size, True), loader(a.valid, a.test_batch_size, False)
    net = network(len(train.dataset.classes), a.hidden_units, a.dropout_rate)
    opt, loss_fn = torch.optim.Adam(net.fc.parameters(), lr=a.lr), nn.CrossEntropyLoss()
    for epoch in range(a.epochs):
        loss, acc = one_epoch(net, train, loss_fn, opt)
        print(f'Train Epoch: {epoch} Loss: {loss:.4f}, Accuracy: {acc:.4f}', flush=True)
        loss, acc = one_epoch(net, valid, loss_fn)
        print(f'Test set: Average loss: {loss:.4f}, Accuracy: {acc:.4f}', flush=True)
    torch.save({'state': net.state_dict(), 'classes': train.dataset.classes, 'hidden_units': a.hidden_units}, os.path.join(a.model_dir, 'model.pth'))


if __name__ == '__main__':
    p = argparse.ArgumentParser()
    p.add_argument('--epochs', type=int, default=1)
    p.add_argument('--lr', type=float, default=1e-3)
    p.add_argument('--batch_size', type=int, default=16)
    p.add_argument('--test_batch_size', type=int, default=16)
    p.add_argument('--hidden_units', type=int, default=64)
    p.add_argument('--dropout_rate', type=float, default=.2)
    p.add_argument('--model_dir', default=os.environ['SM_MODEL_DIR'])
    p.add_argument('--train', default=os.environ['SM_CHANNEL_TRAIN'])
    p.add_argument('--valid', default=os.environ['SM_CHANNEL_VALID'])
    main(p.parse_known_args()[0])
