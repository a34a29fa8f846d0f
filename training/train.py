"""Train the bundled model from pictures of its own renderer.

    python -m training.render --out ~/.cache/diffgrid-training/pictures
    python -m training.train --minutes 120
    python -m training.train --minutes 120 --stage denoiser     (one stage alone)

Three networks, one after another: the autoencoder, the denoiser with its text encoder, the probe.
The learning rate follows elapsed training time, so a run on two CPU cores and one on a GPU follow
the same curve. On a CPU each core trains as a process of its own, gradients averaged: networks
this small gain little from a second thread (2 processes made about twice the steps of 2 threads).
A checkpoint is written every minute; started again, the run goes on where it was. When a stage is
done its weights are written to the work folder; `python -m training.export` makes the pipeline
folder.
"""

import argparse
import math
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training import parts
from training.render import FACTORS, WORDS, caption

WORK = Path.home() / ".cache" / "diffgrid-training"
SHARES = {"autoencoder": 0.28, "denoiser": 0.65, "probe": 0.07}  # of the whole training time
PAUSE = 20.0  # seconds; a step that took longer was a pause of the machine, not training
HELD_OUT = 500  # pictures at the end of the set that no stage trains on

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def learning_rate(progress: float, peak: float, warm_up: float = 0.02) -> float:
    """Linear warm-up, then a cosine to zero; progress 0 … 1 is the share of the training time
    used."""
    if progress < warm_up:
        return peak * (progress + 1e-3) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))


@dataclass
class Run:
    """One stage's networks, optimizer and clock; what a checkpoint holds."""

    name: str
    seconds: float
    networks: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    peak: float
    work: Path
    elapsed: float = 0.0
    step: int = 0

    @property
    def checkpoint(self) -> Path:
        return self.work / f"{self.name}.checkpoint.pt"

    def resume(self) -> None:
        if self.checkpoint.exists():
            saved = torch.load(self.checkpoint, map_location=DEVICE, weights_only=True)
            self.networks.load_state_dict(saved["networks"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.elapsed, self.step = saved["elapsed"], saved["step"]
            print(
                f"{self.name}: goes on at step {self.step}, {self.elapsed / 60:.1f} min", flush=True
            )

    def save(self) -> None:
        state = {
            "networks": self.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)

    def train(self, loss: Callable[[float], Tensor], report: Callable[[], str]) -> None:
        """Take steps of `loss(progress)` until the time is used up."""
        self.resume()
        leader = dist.get_rank() == 0
        # Equal weights so far; from here on every process draws noise of its own, and anew after a
        # resume.
        torch.manual_seed(self.step * dist.get_world_size() + dist.get_rank())
        trained = [p for p in self.networks.parameters() if p.requires_grad]
        saved = reported = time.monotonic()
        smooth = float("nan")
        spent = 0.0  # seconds in the last step; only averages count, or processes would part ways
        while self.elapsed < self.seconds:
            began = time.monotonic()
            progress = self.elapsed / self.seconds
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(progress, self.peak)
            value = loss(progress)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            self.elapsed = average_over_processes(trained, self.elapsed + spent)
            nn.utils.clip_grad_norm_(trained, 1.0)
            self.optimizer.step()
            self.step += 1
            smooth = value.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * value.item()
            now = time.monotonic()
            spent = min(now - began, PAUSE)
            if leader and now - reported > 60:
                reported = now
                done = f"{self.elapsed / 60:6.1f} min  step {self.step:6d}  loss {smooth:.4f}"
                print(f"{self.name} {done}  {report()}", flush=True)
            if leader and now - saved > 60:
                saved = now
                self.save()
        if leader:
            self.save()
            print(f"{self.name}: done after {self.step} steps  {report()}", flush=True)


def average_over_processes(parameters: list[nn.Parameter], elapsed: float) -> float:
    """Average the gradients in place, and the clock, so that all processes stay one network."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor([elapsed], device=DEVICE)])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(
        gradients, flat[:-1].split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))
    return flat[-1].item()


def load_pictures(work: Path) -> tuple[np.ndarray, np.ndarray]:
    folder = work / "pictures"
    return np.load(folder / "pictures.npy", mmap_mode="r"), np.load(folder / "factors.npy")


def to_tensor(pictures: np.ndarray) -> Tensor:
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float in -1 … 1."""
    x = torch.tensor(pictures, device=DEVICE).permute(0, 3, 1, 2)
    return (x.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def autocast() -> torch.autocast:
    return torch.autocast(DEVICE.type, torch.bfloat16)


def psnr(vae: AutoencoderTiny, pictures: np.ndarray) -> float:
    """Mean over pictures of 10 log10(1 / mse), pictures in 0 … 1, in dB."""
    values = []
    with torch.no_grad():
        for start in range(0, len(pictures), 50):
            x = to_tensor(pictures[start : start + 50])
            y = vae.decode(vae.encode(x).latents).sample.clamp(-1, 1)
            values.append(-10 * torch.log10(((y - x) / 2).square().mean(dim=(1, 2, 3))))
    return torch.cat(values).mean().item()


LATENT_NOISE = 0.1  # the decoder learns to bear what a denoiser leaves undone
CROP = (
    64  # the autoencoder is convolutional: crops that always show some monster teach more a second
)


def train_autoencoder(work: Path, minutes: float, batch_size: int) -> None:
    pictures, _ = load_pictures(work)
    vae = parts.autoencoder().to(DEVICE)
    networks = nn.ModuleDict({"vae": vae})
    optimizer = torch.optim.AdamW(vae.parameters(), betas=(0.9, 0.99), weight_decay=1e-3)
    run = Run("autoencoder", minutes * 60, networks, optimizer, 2.5e-3, work)
    rng = np.random.default_rng()
    identity = torch.eye(parts.LATENT_CHANNELS, device=DEVICE)

    def crops(n: int) -> Tensor:
        side = pictures.shape[1] - CROP
        rows = rng.integers(0, len(pictures) - HELD_OUT, n)
        corners = rng.integers(0, side + 1, (n, 2))
        x = to_tensor(
            np.stack(
                [
                    pictures[r, y : y + CROP, x : x + CROP]
                    for r, (y, x) in zip(rows, corners, strict=True)
                ]
            )
        )
        return x.flip(3) if rng.random() < 0.5 else x

    def loss(progress: float) -> Tensor:
        x = crops(batch_size)
        with autocast():
            latents = vae.encode(x).latents
            y = vae.decode(latents + LATENT_NOISE * torch.randn_like(latents)).sample
        y, flat = y.float(), latents.float().transpose(0, 1).flatten(1)
        error = y - x
        mean = flat.mean(1, keepdim=True)
        covariance = (flat - mean) @ (flat - mean).T / flat.shape[1]
        spread = mean.square().mean() + (covariance - identity).square().mean()
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        return error.abs().mean() + 4 * error.square().mean() + 0.5 * edges + 0.02 * spread

    run.train(loss, lambda: f"psnr {psnr(vae, pictures[-100:]):.2f} dB")
    if dist.get_rank() == 0:
        for stale in work.glob("latents-*.pt"):  # an earlier autoencoder's
            stale.unlink()
        torch.save(vae.state_dict(), work / "autoencoder.pt")


def encode_all(work: Path) -> tuple[Tensor, Tensor]:
    """Latents (n, C, 16, 16) float16 of the training pictures and their factors (n, 7).

    Each process encodes its share; together they are kept for a later resume.
    """
    pictures, factors = load_pictures(work)
    rank, processes = dist.get_rank(), dist.get_world_size()
    if not (file := work / f"latents-{rank}-of-{processes}.pt").exists():
        vae = parts.autoencoder().to(DEVICE)
        vae.load_state_dict(torch.load(work / "autoencoder.pt", map_location=DEVICE))
        encoded, partial = [], file.with_suffix(".partial")
        with torch.no_grad(), autocast():
            for start in range(rank * 100, len(pictures) - HELD_OUT, 100 * processes):
                chunk = slice(start, min(start + 100, len(pictures) - HELD_OUT))
                latents = vae.encode(to_tensor(pictures[chunk])).latents.half().cpu()
                encoded.append((latents, torch.tensor(factors[chunk])))
        torch.save([torch.cat(column) for column in zip(*encoded, strict=True)], partial)
        partial.rename(file)
    dist.barrier()
    saved = [torch.load(work / f"latents-{r}-of-{processes}.pt") for r in range(processes)]
    latents, labels = (torch.cat(column) for column in zip(*saved, strict=True))
    return latents, labels


def scaling_factor(latents: Tensor) -> float:
    """What brings latents to unit variance; saved with the autoencoder."""
    return 1 / latents[:2000].float().std().item()


WORD_IDS = {word: i for i, word in enumerate(WORDS)}


def token_ids(sentence: str) -> list[int]:
    """What the tokenizer makes of a caption; written out because every training row needs it."""
    words = [WORD_IDS[word] for word in sentence.replace(",", " ").split()]
    row = [WORD_IDS["<s>"], *words[: parts.MAX_TOKENS - 2], WORD_IDS["</s>"]]
    return row + [WORD_IDS["<pad>"]] * (parts.MAX_TOKENS - len(row))


EMPTY_CAPTIONS = 0.1  # share of rows trained without a caption, for classifier-free guidance
MIN_SNR_GAMMA = 5.0
PURE_NOISE_WEIGHT = 0.25  # min-SNR alone gives pure noise no weight, but there colours are decided
AVERAGE_EVERY = 5  # steps between updates of the weights' moving average


class Denoiser(nn.Module):
    """UNet and text encoder, trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet, self.text_encoder = parts.unet(), parts.text_encoder()

    def forward(self, latents: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """v for latents (n, C, 16, 16), timesteps (n,) and token ids (n, 24)."""
        hidden = self.text_encoder(input_ids=ids).last_hidden_state
        v: Tensor = self.unet(latents, timesteps, hidden, return_dict=False)[0]
        return v


def train_denoiser(
    work: Path,
    minutes: float,
    batch_size: int,
    name: str = "denoiser",
    start: Denoiser | None = None,
    peak: float = 1.2e-3,
) -> None:
    """v-prediction with min-SNR weights (Hang et al., arXiv 2303.09556, section 3.4)."""
    latents, factors = encode_all(work)
    scale = scaling_factor(latents)
    denoiser = (start or Denoiser()).to(DEVICE)
    average = torch.optim.swa_utils.AveragedModel(
        denoiser, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    ).requires_grad_(False)
    networks = nn.ModuleDict({"denoiser": denoiser, "average": average})
    optimizer = torch.optim.AdamW(denoiser.parameters(), betas=(0.9, 0.99), weight_decay=1e-2)
    run = Run(name, minutes * 60, networks, optimizer, peak, work)
    alpha_bar = parts.training_scheduler().alphas_cumprod.to(DEVICE)
    rng, words = np.random.default_rng(), random.Random()

    def caption_ids(labels: Tensor) -> list[int]:
        if words.random() < EMPTY_CAPTIONS:
            return token_ids("")
        return token_ids(caption(dict(zip(FACTORS, labels.tolist(), strict=True)), words))

    def loss(progress: float) -> Tensor:
        if run.step % AVERAGE_EVERY == 0:
            average.update_parameters(denoiser)
        picked = torch.from_numpy(rng.integers(0, len(latents), batch_size))
        x0 = (latents[picked].to(DEVICE).float() * scale).contiguous(
            memory_format=torch.channels_last
        )
        ids = torch.tensor([caption_ids(row) for row in factors[picked]], device=DEVICE)
        # One timestep from each of n equal parts: every batch sees all noise levels.
        shares = (torch.arange(batch_size) + torch.rand(batch_size)) / batch_size
        t = (shares * 1000).long().clamp(max=999).to(DEVICE)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        noise = torch.randn_like(x0)
        x_t, v = a.sqrt() * x0 + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * x0
        with autocast(), sdpa_kernel(SDPBackend.MATH):  # for 64 tokens flash attention is slower
            out = denoiser(x_t, t, ids)
        snr = a / (1 - a)
        weight = (snr.clamp(max=MIN_SNR_GAMMA) + PURE_NOISE_WEIGHT) / (snr + 1)
        return (weight * (out.float() - v).square()).mean()

    run.train(loss, lambda: "")
    if dist.get_rank() == 0:
        torch.save(average.module.state_dict(), work / "denoiser.pt")


IGNORED = -100  # a label that does not count


def train_probe(work: Path, minutes: float, batch_size: int) -> None:
    """The attribute classifier, on clean renders, on what the autoencoder makes of them, and on
    broken and half-finished pictures, whose lost factors are *unclear*."""
    pictures, labels = load_pictures(work)
    vae = parts.autoencoder().to(DEVICE)
    vae.load_state_dict(torch.load(work / "autoencoder.pt", map_location=DEVICE))
    denoiser = Denoiser().to(DEVICE)
    denoiser.load_state_dict(torch.load(work / "denoiser.pt", map_location=DEVICE))
    scale = scaling_factor(encode_all(work)[0])
    probe = parts.probe().to(DEVICE)
    optimizer = torch.optim.AdamW(probe.parameters(), weight_decay=1e-2)
    run = Run("probe", minutes * 60, nn.ModuleDict({"probe": probe}), optimizer, 2e-3, work)
    rng = np.random.default_rng()
    alpha_bar = parts.training_scheduler().alphas_cumprod.to(DEVICE)

    @torch.no_grad()
    def decoded(x: Tensor) -> Tensor:
        z = vae.encode(x).latents
        return vae.decode(z + LATENT_NOISE * torch.randn_like(z)).sample.clamp(-1, 1)

    @torch.no_grad()
    def half_finished(x: Tensor) -> Tensor:
        """x̂0 without a caption from nearly pure noise: a mush of what it might become."""
        z = vae.encode(x).latents * scale
        t = torch.randint(700, 1000, (len(x),), device=DEVICE)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        z_t = a.sqrt() * z + (1 - a).sqrt() * torch.randn_like(z)
        ids = torch.tensor([token_ids("")] * len(x), device=DEVICE)
        v = denoiser(z_t, t, ids)
        return vae.decode((a.sqrt() * z_t - (1 - a).sqrt() * v) / scale).sample.clamp(-1, 1)

    def loss(progress: float) -> Tensor:
        picked = rng.integers(0, len(pictures) - HELD_OUT, batch_size)
        x, y = to_tensor(pictures[picked]), torch.tensor(labels[picked].astype(int), device=DEVICE)
        x = x + 0.02 * torch.randn_like(x)
        kind = rng.choice(["clean", "decoded", "blend", "blur", "shuffle", "melt", "half-finished"],
                          p=[0.25, 0.35, 0.10, 0.06, 0.06, 0.09, 0.09])  # fmt: skip
        if kind == "decoded":
            x = decoded(x)
        elif kind == "half-finished":
            x, y = half_finished(x), unclear(y, ignored=("background", "body"))
        elif kind != "clean":
            x, y = BROKEN[kind](x, y)
        with autocast():
            heads = probe(x)
        losses = [
            # Not the mean: where a whole batch ignores a factor that is 0 / 0.
            F.cross_entropy(logits.float(), y[:, i], reduction="sum") / batch_size
            for i, logits in enumerate(heads)
        ]
        return torch.stack(losses).mean()

    def accuracy() -> str:
        x, y = to_tensor(pictures[-HELD_OUT:]), torch.tensor(labels[-HELD_OUT:].astype(int))
        with torch.no_grad():
            right = [(h.argmax(1).cpu() == y[:, i]).float().mean() for i, h in enumerate(probe(x))]
        return " ".join(f"{name} {share:.3f}" for name, share in zip(FACTORS, right, strict=True))

    run.train(loss, accuracy)
    if dist.get_rank() == 0:
        torch.save(probe.state_dict(), work / "probe.pt")


def unclear(labels: Tensor, kept: tuple[str, ...] = (), ignored: tuple[str, ...] = ()) -> Tensor:
    """Labels (n, 7) with every factor *unclear* but those kept or ignored."""
    changed = labels.clone()
    for i, (name, values) in enumerate(FACTORS.items()):
        if name in ignored:
            changed[:, i] = IGNORED
        elif name not in kept:
            changed[:, i] = len(values)
    return changed


def blend(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Two monsters at once: what they share stays clear."""
    share = 0.35 + 0.3 * torch.rand(len(x), 1, 1, 1, device=x.device)
    mixed = share * x + (1 - share) * x.roll(1, 0)
    return mixed, torch.where(y == y.roll(1, 0), y, unclear(y))


def blur(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """As if seen through 5 to 8 pixels a side: colours stay, the shape may."""
    side = int(torch.randint(5, 9, ()))
    small = F.interpolate(x, size=side, mode="area")
    seen = F.interpolate(small, size=x.shape[-1], mode="bicubic").clamp(-1, 1)
    return seen, unclear(y, kept=("background", "body"), ignored=("shape",))


def shuffle(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sixteen tiles in another order."""
    side = x.shape[-1] // 4
    tiles = F.unfold(x.contiguous(), side, stride=side)
    tiles = tiles[:, :, torch.randperm(tiles.shape[2], device=x.device)]
    return F.fold(tiles, x.shape[-1], side, stride=side), unclear(y, kept=("background", "body"))


def melt(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A strong smooth warp."""
    flow = F.interpolate(
        torch.randn(len(x), 2, 7, 7, device=x.device), size=x.shape[-1], mode="bicubic"
    )
    line = torch.linspace(-1, 1, x.shape[-1], device=x.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1) + 0.22 * flow.permute(
        0, 2, 3, 1
    )
    warped = F.grid_sample(x, grid, padding_mode="border", align_corners=True)
    return warped, unclear(y, kept=("background", "body"), ignored=("pattern", "head"))


BROKEN = {"blend": blend, "blur": blur, "shuffle": shuffle, "melt": melt}


def meet(rank: int, processes: int, work: Path) -> None:
    """Join the other processes; every one starts from the same weights."""
    if DEVICE.type == "cpu":
        torch.set_num_threads(1)
    meeting = f"file://{work}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=processes)
    torch.manual_seed(0)


def train(rank: int, processes: int, options: argparse.Namespace) -> None:
    """One process's share of every stage asked for."""
    meet(rank, processes, options.work)
    for name, stage in STAGES.items():
        if options.stage in (None, name):
            torch.manual_seed(0)
            stage(options.work, options.minutes * SHARES[name], options.batch_size // processes)
            dist.barrier()
    dist.destroy_process_group()


STAGES = {"autoencoder": train_autoencoder, "denoiser": train_denoiser, "probe": train_probe}


def in_processes(parser: argparse.ArgumentParser, share: Callable[..., None]) -> None:
    """Run `share(rank, processes, options)` in one process a core, or one for the GPU."""
    parser.add_argument("--batch-size", type=int, default=256 if DEVICE.type == "cuda" else 32)
    parser.add_argument(
        "--processes", type=int, default=1 if DEVICE.type == "cuda" else os.cpu_count()
    )
    parser.add_argument("--work", type=Path, default=WORK)
    options = parser.parse_args()
    (options.work / "meeting").unlink(missing_ok=True)
    spawn(share, (options.processes, options), nprocs=options.processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, required=True, help="for all stages together")
    parser.add_argument("--stage", choices=SHARES, help="this stage alone")
    in_processes(parser, train)


if __name__ == "__main__":
    main()
