"""Two processes on this machine (gloo over loopback)."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_together
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from crosspoint.engine.checkpoint import load_checkpoint
from crosspoint.engine.distributed import World, gather_objects, gather_with_gradient, join_world, largest
from crosspoint.engine.run import CHECKPOINT_NAME
from crosspoint.losses import crosspoint_loss

SIZE = 2


def inputs() -> torch.Tensor:
    return torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(5, 4, bias=False).double()


def gradient(model: nn.Module, views: torch.Tensor, world: World) -> torch.Tensor:
    projections = torch.stack([model(view) for view in views], dim=1)
    loss = crosspoint_loss(*gather_with_gradient(projections, world).unbind(dim=1), temperature=0.5)
    loss.total.backward()
    weight = next(model.parameters())
    assert weight.grad is not None
    return torch.cat([loss.total.detach().view(1), weight.grad.flatten()])


def work(rank: int, port: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(SIZE), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with join_world("cpu") as world:
        part = slice(4 * rank, 4 * rank + 4)
        result = {
            "world": (world.rank, world.size, world.is_main),
            "largest": largest([rank, 10 - rank], world),
            "objects": gather_objects({"rank": rank}, world),
            "gradient": gradient(DistributedDataParallel(network()), inputs()[:, part], world),
        }
    torch.save(result, Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.start_processes(work, (port, str(folder)), nprocs=SIZE, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt") for rank in range(SIZE)]


def test_every_process_knows_its_place(results: list[dict[str, Any]]) -> None:
    assert [result["world"] for result in results] == [(0, 2, True), (1, 2, False)]


def test_processes_agree(results: list[dict[str, Any]]) -> None:
    for result in results:
        assert result["largest"] == [1, 10]
        assert result["objects"] == [{"rank": 0}, {"rank": 1}]


def test_gradients_are_those_of_one_process_with_the_whole_batch(results: list[dict[str, Any]]) -> None:
    alone = gradient(network(), inputs(), World(0, 1, torch.device("cpu")))
    for result in results:
        torch.testing.assert_close(result["gradient"], alone, rtol=1e-12, atol=1e-12)


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join_world("cpu") as world:
        assert world == World(0, 1, torch.device("cpu"))
        rows = torch.ones(2, 3, requires_grad=True)
        assert gather_with_gradient(rows, world) is rows
        assert not torch.distributed.is_initialized()


def test_cuda_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device must be cpu or auto where torch finds no GPU, got cuda$"):
        join_world("cuda").__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="sends signals between processes")
def test_two_processes_train_stop_and_resume_together(training: Any, tmp_path: Path) -> None:
    """The second process alone gets SIGTERM; both stop after the same step and resume to the weights of a whole run."""
    no_probe = ("--probe.dataset", "none")
    arguments = training.arguments(tmp_path / "whole", *no_probe)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(SIZE), "-m", "crosspoint.train"]
    finished = subprocess.run(
        [sys.executable, *torchrun, *arguments], capture_output=True, text=True, cwd=tempfile.gettempdir()
    )
    assert finished.returncode == 0, finished.stderr
    whole = load_checkpoint(tmp_path / "whole" / CHECKPOINT_NAME)
    assert whole["processes"] == 2
    assert len(whole["randomness"]) == 2

    directory = tmp_path / "stopped"
    dying = [str(training.dying_run), "step", "4", str(int(signal.SIGTERM))]
    stopped = run_together([*dying, *training.arguments(directory, *no_probe)], SIZE)
    assert [process.returncode for process in stopped] == [143, 143]
    assert f"stopped by SIGTERM after step 4 of {whole['step']}; continue with: torchrun --nproc-per-node 2" in (
        stopped[0].stdout
    )
    assert load_checkpoint(directory / CHECKPOINT_NAME)["step"] == 4

    alone = training.train(directory, "--resume")
    assert alone.returncode == 2
    assert alone.stderr.endswith("checkpoint.pt must be resumed by as many processes as wrote it (2), got 1\n")

    options = training.arguments(directory, *no_probe, "--resume")
    resumed = run_together(["-m", "crosspoint.train", *options], SIZE)
    assert [process.returncode for process in resumed] == [0, 0], resumed
    ours = load_checkpoint(directory / CHECKPOINT_NAME)["model"]
    assert all(torch.equal(value, whole["model"][name]) for name, value in ours.items())
