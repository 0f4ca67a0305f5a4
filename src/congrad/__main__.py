"""`python -m congrad`, which is also what `torchrun -m` starts."""

from congrad.cli import main

if __name__ == "__main__":
    main()
