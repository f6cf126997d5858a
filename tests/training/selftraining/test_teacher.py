import copy

import pytest
import torch
from torch import nn

from crosspoint.selftraining.teacher import Teacher


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))


def moved(student: nn.Module, seed: int) -> None:
    """A step of training: other weights, other running statistics."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += torch.randn_like(parameter)
    student(torch.randn(8, 3))


def test_the_momentum_rises_as_in_the_official_code() -> None:
    student = nn.Linear(1, 1)
    teacher = Teacher(student)
    momenta = []
    for _ in range(500):
        momenta.append(teacher.momentum)
        teacher.update(student)
    assert momenta[0] == 0.99
    assert momenta[1] == pytest.approx(0.99 + 0.0098 / 400)
    assert momenta[200] == pytest.approx(0.9949)
    assert momenta[399] < momenta[400] == pytest.approx(0.9998)
    assert momenta[499] == momenta[400]
    assert Teacher(student, start=0.5, end=0.9, ramp_steps=0).momentum == 0.9


def test_the_average_by_hand() -> None:
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, 1.0)
    teacher = Teacher(student, start=0.5, end=0.9, ramp_steps=2)
    values = []
    for value in (2.0, 4.0, 10.0):
        nn.init.constant_(student.weight, value)
        teacher.update(student)
        values.append(teacher.model.weight.item())
    # momenta 0.5, 0.7, 0.9
    assert values == pytest.approx([1.5, 0.7 * 1.5 + 0.3 * 4, 0.9 * 2.25 + 0.1 * 10])


def test_follows_every_entry_of_the_state() -> None:
    student = network()
    teacher = Teacher(student, start=0.6, end=0.6)
    before = copy.deepcopy(student.state_dict())
    moved(student, 1)
    teacher.update(student)
    after = teacher.model.state_dict()
    for name, value in student.state_dict().items():
        expected = 0.6 * before[name] + 0.4 * value if value.is_floating_point() else value
        torch.testing.assert_close(after[name], expected, msg=name)
        assert name == "1.num_batches_tracked" or not torch.equal(value, before[name])


def test_is_in_evaluation_mode_without_gradients_and_on_its_own() -> None:
    student = network()
    teacher = Teacher(student)
    student.train()
    assert not any(module.training for module in teacher.model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())
    rows = torch.randn(5, 3)
    answer = teacher.model(rows)
    moved(student, 1)
    assert torch.equal(teacher.model(rows), answer)


def test_a_restored_teacher_goes_on_to_the_bit() -> None:
    student = network()
    teacher = Teacher(student, ramp_steps=4)
    for step in range(2):
        moved(student, step)
        teacher.update(student)
    restored = Teacher(network(seed=5), ramp_steps=4)
    restored.load_state_dict(copy.deepcopy(teacher.state_dict()))
    for step in range(2, 4):
        moved(student, step)
        teacher.update(student)
        restored.update(student)
        assert restored.momentum == teacher.momentum
    for name, value in teacher.model.state_dict().items():
        assert torch.equal(restored.model.state_dict()[name], value), name


def test_weights_with_two_names_follow_once() -> None:
    student = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    student[1].weight = student[0].weight
    teacher = Teacher(student, start=0.5, end=0.5)
    before = student[0].weight.detach().clone()
    nn.init.zeros_(student[0].weight)
    teacher.update(student)
    assert torch.equal(teacher.model[1].weight, before / 2)


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^the student must have the teacher's parameters and buffers, got a network"):
        Teacher(network()).update(nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"^the teacher's momentum must lie in \[0, 1\], got 1.5 at its end$"):
        Teacher(network(), end=1.5)
    with pytest.raises(ValueError, match=r"^ramp_steps must be at least 0, got -1$"):
        Teacher(network(), ramp_steps=-1)
