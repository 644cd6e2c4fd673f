"""Training in several processes, one thread each, that meet over gloo."""

import torch


def add_arguments(args, port):
    args.add_argument("--world", type=int, default=2, help="processes")
    args.add_argument("--rank", type=int, help="be this process of --world, started by hand")
    args.add_argument("--port", type=int, default=port)


def run(worker, args):
    """worker(rank, world, args) in each process, or here when there is one."""
    if args.world == 1 or args.rank is not None:
        worker(args.rank or 0, args.world, args)
    else:
        torch.multiprocessing.spawn(worker, (args.world, args), nprocs=args.world)
