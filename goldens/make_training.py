"""Reference values of the trainer's tests: AdamW (torch), a TensorBoard record, and CogVideoX's loss.

    python goldens/make_training.py        # needs torch and tensorboard; prints the values the tests hold
"""

import io

import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

weight = torch.nn.Parameter(torch.tensor([[0.5, -1.0], [2.0, 0.1]]))
bias = torch.nn.Parameter(torch.tensor([0.3, -0.2]))
groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]
optimiser = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), eps=1e-8)
for weight_gradient, bias_gradient in [
    ([[0.1, -0.2], [0.3, 1e-4]], [1.0, -0.5]),
    ([[0.05, 0.2], [-0.3, 2e-4]], [-1.0, 0.25]),
    ([[-0.15, 0.4], [0.0, 1e-4]], [0.5, 0.125]),
]:
    weight.grad, bias.grad = torch.tensor(weight_gradient), torch.tensor(bias_gradient)
    optimiser.step()
print("AdamW:", [f"{value:.9g}" for value in weight.flatten().tolist() + bias.tolist()])

record = io.BytesIO()
event = Event(wall_time=1.5, step=7, summary=Summary(value=[Summary.Value(tag="loss", simple_value=0.25)]))
RecordWriter(record).write(event.SerializeToString())
print("TensorBoard:", record.getvalue().hex())
