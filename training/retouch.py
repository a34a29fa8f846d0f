"""Teach a trained denoiser a word that it does not heed.

    python -m training.retouch horns --like antennae --minutes 20

In a caption that names everything, one value of a factor can be told by the absence of the others.
A denoiser may settle on that: the word itself then changes nothing, and a short prompt does not
draw it. Here the word starts again from the embedding of another one, which is heeded, and the
denoiser is trained on from `denoiser.pt`, at a lower rate, until it can tell them apart.
"""

import argparse

import torch
import torch.distributed as dist

from training.train import DEVICE, WORD_IDS, Denoiser, in_processes, meet, train_denoiser

PEAK = 6e-4  # half of the first training's
SPREAD = 0.02  # of the noise that tells the two words apart at first


def retouch(rank: int, processes: int, options: argparse.Namespace) -> None:
    meet(rank, processes, options.work)
    denoiser = Denoiser()
    denoiser.load_state_dict(torch.load(options.work / "denoiser.pt", map_location=DEVICE))
    table = denoiser.text_encoder.get_input_embeddings().weight.data
    like = table[WORD_IDS[options.like]]
    table[WORD_IDS[options.word]] = like + SPREAD * torch.randn_like(like)
    share = options.batch_size // processes
    train_denoiser(options.work, options.minutes, share, "retouch", denoiser, PEAK)
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("word", choices=WORD_IDS)
    parser.add_argument("--like", choices=WORD_IDS, required=True, help="a word that is heeded")
    parser.add_argument("--minutes", type=float, required=True)
    in_processes(parser, retouch)


if __name__ == "__main__":
    main()
